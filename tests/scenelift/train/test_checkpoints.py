"""Checkpoints appear whole, the newest and the best stay, and a full disk is said plainly."""

import json

import pytest
import torch

from scenelift.errors import StorageError
from scenelift.nn.saved import SavedStudent
from scenelift.nn.student import Student
from scenelift.train.checkpoints import Checkpoints
from tests.made.checkpoints import state_of
from tests.made.full_disk import no_file_above, on_small_disk

BROKEN = {
    "empty": b"",
    "half": b'{"files": {"wei',
    "zeros": bytes(200),
    "a list": b"[]",
    "a number": b"7",
    "other names": b'{"step": 2}',
    "a list of files": b'{"files": ["weight"], "about": {"step": 2, "score": null}}',
    "no sizes": b'{"files": {"weight": null}, "about": {"step": 2, "score": null}}',
    "no step": b'{"files": {}, "about": {}}',
    "a step in words": b'{"files": {}, "about": {"step": "two", "score": null}}',
    "deep": b"[" * 100_000,
    "another alphabet": b"\xff\xfe{}",
}
"""What a power loss, a full disk or an editor makes of done.json."""


class Weights(SavedStudent):
    """A student of a few numbers, saved as all are."""

    def __init__(self, size=2000):
        super().__init__()
        self.values = torch.nn.Parameter(torch.arange(size) / 7)

    def description(self):
        return {"size": len(self.values)}

    @classmethod
    def from_description(cls, description, weights):
        return cls(description["size"])


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


def test_a_disk_that_is_full_at_any_byte_leaves_the_older_checkpoint(tmp_path):
    """Weights, state, and our own small files are each written by another library, with errors of its own."""
    checkpoints, student, state = Checkpoints(tmp_path), Weights(), {"moments": torch.zeros(3000)}
    checkpoints.save(1, student, state)
    largest = max(path.stat().st_size for path in (tmp_path / "step-00000001").iterdir())
    for size in (0, 10, 100, 1000, 5000, largest - 1):
        with (
            no_file_above(size),
            pytest.raises(StorageError, match=r"(?s)step 2 is not written.*--run.resume"),
        ):
            checkpoints.save(2, student, state)
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    checkpoints.save(2, student, state)
    assert [each.step for each in checkpoints.all()] == [1, 2]


@pytest.mark.slow
def test_a_file_system_that_is_full_leaves_the_older_checkpoint(tmp_path):
    code = """
import sys, torch
from scenelift.errors import StorageError
from scenelift.train.checkpoints import Checkpoints
from tests.scenelift.train.test_checkpoints import Weights
checkpoints, student = Checkpoints(sys.argv[1]), Weights(20_000)
for step in range(1, 9):
    try:
        checkpoints.save(step, student, {"moments": torch.zeros(step * 4_000)})
    except StorageError as error:
        print(step, checkpoints.latest().step, error)
"""
    done = on_small_disk(code, tmp_path, 300)
    if done is None:
        pytest.skip("no file system may be mounted here")
    assert not done.stderr, done.stderr
    assert "No space left on device" in done.stdout or "disk is full" in done.stdout
    for line in done.stdout.splitlines():
        step, latest, said = line.split(" ", 2)
        assert int(latest) < int(step) and said.endswith("then continue with --run.resume true")


def test_every_student_is_saved_in_the_one_place_that_knows_full_disks():
    from trainables.ground.model import Grounder
    from trainables.phrases.clip_student import ClipStudent
    from trainables.phrases.student import PhraseStudent

    for student in (Student, Grounder, PhraseStudent, ClipStudent):
        assert student.save is SavedStudent.save


@pytest.mark.parametrize("spoil", ["lost", "short", "unfinished", *BROKEN])
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
    elif spoil == "unfinished":
        (newest / "done.json").unlink()
    else:
        (newest / "done.json").write_bytes(BROKEN[spoil])
    assert checkpoints.latest().step == 1 and checkpoints.best() is None
    checkpoints.save(3, Model(), {})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000003"]


def test_a_trial_takes_over_the_checkpoint_of_another(tmp_path):
    mine, other = Checkpoints(tmp_path / "mine"), Checkpoints(tmp_path / "other")
    mine.save(9, Model(1.0), {}, 0.9)
    source = other.save(4, Model(2.0), {"step": 4}, 0.5)
    mine.adopt(source)
    assert [(c.step, c.score, state_of(c)) for c in mine.all()] == [(4, 0.5, {"step": 4})]


def test_only_what_was_written_here_is_ever_deleted(tmp_path):
    """Folders of somebody else's in the way, with names like ours, and links to elsewhere."""
    checkpoints = Checkpoints(tmp_path / "run", keep=1)
    theirs = [tmp_path / "run" / name for name in ("step-best", "step-00000001", "step-1", "notes")]
    for folder in theirs:
        folder.mkdir(parents=True)
        (folder / "precious").write_text("x")
    with pytest.raises(StorageError, match="move it out of the way"):
        checkpoints.save(1, Model(), {})
    outside = Checkpoints(tmp_path / "outside").save(2, Model(), {})
    (tmp_path / "run" / "step-00000002").symlink_to(outside.folder)
    for step in (3, 4):
        checkpoints.save(step, Model(), {})
    assert [each.step for each in checkpoints.all()] == [4]
    checkpoints.adopt(outside)
    assert all((folder / "precious").exists() for folder in theirs) and outside.intact()


def test_a_folder_that_is_half_deleted_is_deleted_later(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for file in ("done.json", "weight"):
        first = checkpoints.save(1, Model(), {})
        (tmp_path / "step-00000001" / file).unlink()
    assert not first.intact()
    checkpoints.save(2, Model(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("file", ["weight", "training.pt"])
def test_a_changed_byte_is_noticed_where_length_and_name_are_right(tmp_path, file):
    checkpoints = Checkpoints(tmp_path)
    saved = checkpoints.save(1, Model(3.25), {"tensor": torch.arange(100)})
    assert saved.intact()
    path = tmp_path / "step-00000001" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert checkpoints.latest() == saved and not saved.intact()
    with pytest.raises(StorageError, match="damaged"):
        Checkpoints(tmp_path / "other").adopt(saved)


def test_a_student_with_a_changed_byte_is_not_loaded(tmp_path):
    """Whether to score it, to start from it, or to grow it: its weights would be others in silence."""
    saved = Checkpoints(tmp_path).save(1, Weights(), {})
    assert torch.equal(Weights.load(saved.folder).values, Weights().values)
    path = tmp_path / "step-00000001" / "student.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="step-00000001 is damaged"):
        Weights.load(saved.folder)


def test_a_checkpoint_of_the_first_release_counts(tmp_path):
    """It has sizes and no checksums, and no mark."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, Model(), {})
    folder = tmp_path / "step-00000001"
    (folder / ".scenelift").unlink()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "done.json"}
    done = {"files": sizes, "about": {"step": 1, "score": None}}
    (folder / "done.json").write_text(json.dumps(done))
    assert checkpoints.latest().intact()
    checkpoints.save(2, Model(), {})
    assert [each.step for each in checkpoints.all()] == [2]
