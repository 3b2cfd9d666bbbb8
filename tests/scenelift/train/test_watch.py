"""Who stands still is named, once each time; whoever works is left in peace."""

from __future__ import annotations

import time

import pytest

from scenelift.train import watch
from scenelift.train.watch import AFTER, COMPUTING, ENDED, READING, STARTING, Beat, Beating, Watch


def beats(step: int, *doing: str, ages: tuple[float, ...] = (0.0, 0.0)) -> list[Beat]:
    return [Beat(rank, 2, "host", 100 + rank, step, what, ages[rank]) for rank, what in enumerate(doing)]


def test_a_silent_worker_is_named_once_and_again_after_the_next_step() -> None:
    looking = Watch(50)
    assert not looking.stalled(beats(7, COMPUTING, COMPUTING), 0)
    assert not looking.stalled(beats(7, COMPUTING, COMPUTING, ages=(2, 49)), 49)
    silent = beats(7, COMPUTING, READING, ages=(3, 51))
    assert [beat.told(50) for beat in looking.stalled(silent, 51)] == [
        "rank 1 on host (PID 101) is silent; last: waiting for data"
    ]
    assert looking.since == 0 and not looking.stalled(silent, 90), "said already"
    assert not looking.stalled(beats(8, COMPUTING, COMPUTING), 100)
    assert looking.stalled(beats(8, COMPUTING, READING, ages=(0, 60)), 160)


@pytest.mark.parametrize("doing", [(STARTING, STARTING), (AFTER, AFTER)])
def test_long_starts_and_validations_are_no_stall(doing: tuple[str, str]) -> None:
    looking = Watch(50)
    assert not any(looking.stalled(beats(0, *doing), now) for now in range(0, 1000, 5))


def test_where_no_step_is_made_all_are_named() -> None:
    looking = Watch(50)
    assert not looking.stalled([], 0) and not looking.stalled(beats(3, COMPUTING, READING), 10)
    told = [beat.told(50) for beat in looking.stalled(beats(3, COMPUTING, READING), 61)]
    assert told == ["rank 0 on host (PID 100) is computing", "rank 1 on host (PID 101) is waiting for data"]


def test_a_worker_says_what_it_does_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY", 0.01)
    heard: list[Beat] = []
    with Beating(1, 2, heard.append) as beating:
        beating(4, COMPUTING)
        while not any(beat.doing == COMPUTING for beat in heard):
            time.sleep(0.01)
    assert (heard[-1].rank, heard[-1].workers, heard[-1].step, heard[-1].doing) == (1, 2, 4, ENDED)
