"""Checkpoints appear whole, the newest and the best stay, and a full disk is said plainly."""

import errno

import pytest
import torch

from scenelift.errors import StorageError
from scenelift.train.checkpoints import Checkpoints
from tests.made.checkpoints import state_of


class Model:
    """A student of one number."""

    def __init__(self, value=0.0, error=None):
        self.value, self.error = value, error

    def save(self, folder):
        (folder / "weight").write_text(str(self.value))
        if self.error:
            raise self.error

    def restore(self, folder):
        self.value = float((folder / "weight").read_text())


def test_a_checkpoint_holds_what_was_given(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() is None
    checkpoints.save(7, Model(3.0), {"step": 7, "tensor": torch.arange(3)})
    latest = checkpoints.latest()
    assert (latest.step, latest.score) == (7, None)
    assert state_of(latest)["tensor"].tolist() == [0, 1, 2]
    model = Model()
    with latest.fetched() as folder:
        model.restore(folder)
    assert model.value == 3.0


def test_the_newest_and_the_best_of_those_that_were_scored_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, score in enumerate([0.1, 0.9, None, 0.9, 0.4, None], 1):
        checkpoints.save(step, Model(), {}, score)
    assert [c.step for c in checkpoints.all()] == [2, 5, 6]
    assert checkpoints.best().step == 2, "the earlier of equals"


def test_without_scores_only_the_newest_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        checkpoints.save(step, Model(), {})
    assert [c.step for c in checkpoints.all()] == [4, 5] and checkpoints.best() is None


def test_an_interrupted_write_is_never_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, Model(), {})
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, Model(error=KeyboardInterrupt()), {})
    assert checkpoints.latest().step == 1
    checkpoints.save(3, Model(), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"], "leftovers go"


def test_writing_the_same_step_again_replaces_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, Model(1), {})
    checkpoints.save(1, Model(2), {}, 0.4)
    assert [(c.step, c.score) for c in checkpoints.all()] == [(1, 0.4)]


def test_a_full_disk_is_said_and_leaves_the_older_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, Model(), {})
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageError, match=r"no space left.*--run.resume"):
        checkpoints.save(2, Model(error=full), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("spoil", ["lost", "short", "unfinished"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path, spoil):
    """What a driver or a worker leaves that was killed while it wrote, copied or deleted."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, Model(), {})
    newest = tmp_path / "step-00000002"
    if spoil == "lost":
        (newest / "weight").unlink()
    elif spoil == "short":
        (newest / "training.pt").write_bytes(b"half")
    else:
        (newest / "done.json").unlink()
    assert checkpoints.latest().step == 1
    checkpoints.save(3, Model(), {})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000003"]


def test_a_trial_takes_over_the_checkpoint_of_another(tmp_path):
    mine, other = Checkpoints(tmp_path / "mine"), Checkpoints(tmp_path / "other")
    mine.save(9, Model(1.0), {}, 0.9)
    source = other.save(4, Model(2.0), {"step": 4}, 0.5)
    mine.adopt(source)
    assert [(c.step, c.score, state_of(c)) for c in mine.all()] == [(4, 0.5, {"step": 4})]
