"""A scorer sees every sample once, in groups of consecutive ones, and its results come in their order."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from scenelift.errors import DataError
from scenelift.evaluation.scoring import score
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from tests.made.frames import MadeUp


def shards(folder: Path, frames: int) -> Shards:
    write_shards(MadeUp(frames), None, str(folder), ReadOptions(image_size=(8, 12)), 4, progress=False)
    return Shards.open(str(folder))


def tokens(device: torch.device):
    """The first group takes longest, so that others are done before it."""

    def scorer(frames: list[Frame]) -> list[str]:
        time.sleep(0.5 if frames[0].token.endswith("00000") else 0.0)
        return [frame.token for frame in frames]

    return scorer


def refusing(device: torch.device):
    def scorer(frames: list[Frame]) -> None:
        raise DataError(f"{frames[0].token} has no labels")

    return scorer


@pytest.mark.ray
@pytest.mark.parametrize("group", [1, 4])
def test_results_come_in_the_order_of_the_samples(ray_session, tmp_path, group):
    made = shards(tmp_path, 9)
    found = list(score(made, tokens, "scoring", workers=2, group=group))
    assert [len(part) for part in found] == ([1] * 9 if group == 1 else [4, 4, 1])
    assert [token for part in found for token in part] == list(made.tokens)


@pytest.mark.ray
def test_what_a_scorer_refuses_is_one_line(ray_session, tmp_path):
    with pytest.raises(DataError, match="has no labels"):
        list(score(shards(tmp_path, 2), refusing, "scoring"))
