"""Checkpoints appear whole, the last few and the best stay, and a full disk is said plainly."""

import errno
import math

import pytest
import torch

from scenelift.errors import StorageError
from scenelift.train.checkpoints import Checkpoints


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
    checkpoints.save(7, 0.5, Model(3.0), {"step": 7, "tensor": torch.arange(3)})
    latest = checkpoints.latest()
    assert (latest.step, latest.loss) == (7, 0.5)
    assert latest.state()["tensor"].tolist() == [0, 1, 2]
    model = Model()
    with latest.fetched() as folder:
        model.restore(folder)
    assert model.value == 3.0


def test_the_last_and_the_best_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, loss in enumerate([0.9, 0.1, 0.5, math.nan, 0.4, 0.6], 1):
        checkpoints.save(step, loss, Model(), {})
    assert [c.step for c in checkpoints.all()] == [2, 5, 6]
    assert checkpoints.best().step == 2


def test_an_interrupted_write_is_never_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, 0.5, Model(), {})
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, 0.5, Model(error=KeyboardInterrupt()), {})
    assert checkpoints.latest().step == 1
    checkpoints.save(3, 0.5, Model(), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"], "leftovers go"


def test_writing_the_same_step_again_replaces_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, 0.5, Model(1), {})
    checkpoints.save(1, 0.4, Model(2), {})
    assert [(c.step, c.loss) for c in checkpoints.all()] == [(1, 0.4)]


def test_a_full_disk_is_said_and_leaves_the_older_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, 0.5, Model(), {})
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageError, match=r"no space left.*--run.resume"):
        checkpoints.save(2, 0.5, Model(error=full), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("spoil", ["lost", "short", "unfinished"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path, spoil):
    """What a driver or a worker leaves that was killed while it wrote, copied or deleted."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, 0.5, Model(), {})
    newest = tmp_path / "step-00000002"
    if spoil == "lost":
        (newest / "weight").unlink()
    elif spoil == "short":
        (newest / "training.pt").write_bytes(b"half")
    else:
        (newest / "done.json").unlink()
    assert checkpoints.latest().step == 1
    checkpoints.save(3, 0.5, Model(), {})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000003"]


def test_a_trial_takes_over_the_checkpoint_of_another(tmp_path):
    mine, other = Checkpoints(tmp_path / "mine"), Checkpoints(tmp_path / "other")
    mine.save(9, 0.1, Model(1.0), {})
    source = other.save(4, 0.5, Model(2.0), {"step": 4})
    mine.adopt(source)
    assert [(c.step, c.loss, c.state()) for c in mine.all()] == [(4, 0.5, {"step": 4})]
