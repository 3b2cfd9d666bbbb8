"""Protects what workers tell the main process: nothing is lost or reordered, a dead actor ends nothing."""

from __future__ import annotations

import time

import pytest
import ray

from scenelift.train.worker import Board

pytestmark = pytest.mark.ray


def test_board_brings_events_in_order_and_survives_its_actor(ray_session: None) -> None:
    board = Board()

    def leave(board: Board) -> None:
        for step in range(50):
            board.put({"step": step})

    ray.get(ray.remote(leave).remote(board))
    events: list[dict[str, int]] = []
    deadline = time.monotonic() + 20
    while len(events) < 50 and time.monotonic() < deadline:
        events += board.drain()
    assert events == [{"step": step} for step in range(50)]
    ray.kill(board._mailbox)
    with pytest.raises(ray.exceptions.RayActorError):  # it dies a little later
        while True:
            ray.get(board._mailbox.drain.remote())
    board.put({"step": 50})
    assert board.drain() == []
