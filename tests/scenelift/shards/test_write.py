"""Protects the job that writes shards: interrupted or not it ends with the same bytes, and bad frames are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import ray

from scenelift.errors import DataError, ShardError, StorageError
from scenelift.io import storage
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame, FrameSet, Source, with_superpixels
from scenelift.samples.kind import BadSample, Manifest
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from tests.made.frames import CAMERAS, CLASSES, OPTIONS, MadeUp, MadeUpKeyframe, made_up_frame

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

SLOW = MadeUp(40, seconds=0.05)
PER_SHARD = 4
_JOB = """
import sys
from tests.made.frames import OPTIONS
from scenelift.cluster.connect import connect
from scenelift.shards.write import write_shards
from tests.scenelift.shards.test_write import PER_SHARD, SLOW

with connect():
    write_shards(SLOW, None, sys.argv[1], OPTIONS, PER_SHARD, command="made up")
"""


def write(source: Source, out: Path, options: ReadOptions = OPTIONS, max_bad: int = 0) -> Manifest:
    return write_shards(source, None, str(out), options, PER_SHARD, max_bad, "made up", progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def changed(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.parquet")}


def kill_half_way(out: Path) -> None:
    """Run the slow job in a process of its own and kill that when half of the shards are there."""
    root = Path(storage.__file__).parents[2]
    environment = os.environ | {
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ["PYTHONPATH"]]),
    }
    job = subprocess.Popen([sys.executable, "-c", _JOB, str(out)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 180
    while len(changed(out)) < SLOW.frames // PER_SHARD // 2:
        assert job.poll() is None and time.monotonic() < deadline, "the job ended too early or hangs"
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()


def settle(out: Path) -> dict[str, int]:
    """What is there once the workers of a killed job are gone too."""
    before: dict[str, int] | None = None
    while before != (now := changed(out)):
        before = now
        time.sleep(0.7)
    return now


def test_killed_job_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    kill_half_way(tmp_path / "killed")
    finished = settle(tmp_path / "killed")
    assert (
        0 < len(finished) < SLOW.frames // PER_SHARD and not (tmp_path / "killed" / "manifest.json").exists()
    )
    (tmp_path / "killed" / f"{storage.TEMPORARY}1-shard-00009.parquet").write_bytes(b"half")
    write(SLOW, tmp_path / "killed")
    write(SLOW, tmp_path / "unbroken")
    assert contents(tmp_path / "killed") == contents(tmp_path / "unbroken")
    again = changed(tmp_path / "killed")
    assert {name: again[name] for name in finished} == finished


def test_truncated_shard_is_written_again(tmp_path: Path) -> None:
    write(MadeUp(12), tmp_path)
    whole, before = contents(tmp_path), changed(tmp_path)
    (tmp_path / "shard-00001.parquet").write_bytes(whole["shard-00001.parquet"][:-100])
    write(MadeUp(12), tmp_path)
    assert contents(tmp_path) == whole
    assert changed(tmp_path)["shard-00002.parquet"] == before["shard-00002.parquet"]


def test_manifest_counts_what_the_frames_hold(tmp_path: Path) -> None:
    """Against counts made frame by frame; labels are counted on the keyframe's own points."""
    options = replace(OPTIONS, lidar_sweeps=2)
    manifest = write(MadeUp(11), tmp_path, options)
    frames = [made_up_frame(f"frame-{number:05d}", options) for number in range(11)]
    pairs = np.concatenate([frame.pair_pixels[:, 0] for frame in frames])
    labels = np.concatenate([frame.labels[frame.sweep == 0] for frame in frames if frame.labels is not None])
    about = FrameSet.of(manifest)
    assert (manifest.samples, about.points) == (11, sum(len(frame.points) for frame in frames))
    assert about.pairs == {name: int((pairs == view).sum()) for view, name in enumerate(CAMERAS)}
    names = dict(enumerate(("ignored", *CLASSES)))
    assert about.labels == {name: int((labels == label).sum()) for label, name in names.items()}
    assert manifest.bytes == sum(
        len(data) for name, data in contents(tmp_path).items() if name != "manifest.json"
    )
    assert (about.cameras, manifest.split, manifest.command) == (CAMERAS, "all", "made up")
    assert [shard.samples for shard in manifest.shards] == [4, 4, 3]
    assert Shards.open(str(tmp_path)).manifest == manifest


def test_superpixels_are_added_where_they_are_asked_for(tmp_path: Path) -> None:
    options = replace(OPTIONS, superpixels=4)
    for asked in (OPTIONS, options):
        out = tmp_path / str(asked.superpixels)
        manifest = write(MadeUp(5), out, asked)
        assert FrameSet.of(manifest) == Shards.open(str(out)).about
        assert FrameSet.of(manifest).superpixels == asked.superpixels
        for number, frame in enumerate(Shards.open(str(out)).read_many(range(5))):
            want = made_up_frame(f"frame-{number:05d}")
            assert frame.superpixels == (with_superpixels(want, 4).superpixels if asked.superpixels else None)


def test_bad_frames_are_listed_and_left_out(tmp_path: Path) -> None:
    bad = (2, 4, 5, 6, 7)
    manifest = write(MadeUp(10, bad=bad), tmp_path, max_bad=5)
    assert manifest.bad == tuple(
        BadSample(f"frame-{number:05d}", f"frame-{number:05d} is made up to be bad") for number in bad
    )
    assert [shard.samples for shard in manifest.shards] == [3, 0, 2]
    opened = Shards.open(str(tmp_path))
    good = [f"frame-{number:05d}" for number in range(10) if number not in bad]
    assert list(opened.tokens) == good
    assert [frame.token for frame in opened.read_many(range(5))] == good


def test_too_many_bad_frames_fail_the_job_and_leave_no_manifest(tmp_path: Path) -> None:
    write(MadeUp(10, bad=(3, 8)), tmp_path, max_bad=2)
    before = changed(tmp_path)
    with pytest.raises(DataError, match=r"2 of 10 frames .* 1 are allowed.*frame-00003: .*made up to be bad"):
        write(MadeUp(10, bad=(3, 8)), tmp_path, max_bad=1)
    assert "manifest.json" not in contents(tmp_path) and changed(tmp_path) == before
    listed = json.loads((tmp_path / "bad.json").read_text())
    assert [frame["token"] for frame in listed] == ["frame-00003", "frame-00008"]
    with pytest.raises(ShardError, match=r"bad\.json"):
        Shards.open(str(tmp_path))


def test_mended_frames_are_read_again_and_only_their_shards(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write(MadeUp(12, bad=(5,)), tmp_path)
    before = changed(tmp_path)
    assert write(MadeUp(12), tmp_path).samples == 12
    after = changed(tmp_path)
    assert [name for name in sorted(after) if after[name] != before[name]] == ["shard-00001.parquet"]
    assert "bad.json" not in contents(tmp_path)


def test_nothing_but_bad_frames_fails_whatever_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 of 3 frames"):
        write(MadeUp(3, bad=(0, 1, 2)), tmp_path, max_bad=100)


OTHER_WORDS = Vocabulary("made-up-3", CLASSES, (("auto",), ("tree",), ("road",)), ((9, 9, 9),) * 3)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (MadeUp(13), OPTIONS),
        (MadeUp(12, version="v1"), OPTIONS),
        (MadeUp(12, vocabulary=OTHER_WORDS), OPTIONS),
        (MadeUp(12), replace(OPTIONS, lidar_sweeps=1)),
        (MadeUp(12), replace(OPTIONS, image_size=(12, 8))),
        (MadeUp(12), replace(OPTIONS, superpixels=4)),
    ],
)
def test_folder_of_another_job_is_refused(tmp_path: Path, source: MadeUp, options: ReadOptions) -> None:
    write(MadeUp(12), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ShardError, match="belongs to another job"):
        write(source, tmp_path, options)
    assert contents(tmp_path) == before


def test_folder_of_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "shard-00000.parquet")
    with pytest.raises(ShardError, match="belongs to another job"):
        write(MadeUp(4), tmp_path)


@dataclass
class Failing(MadeUp):
    """Reading frame 6 raises this."""

    error: Callable[[str], Exception] = StorageError

    def read(self, keyframe: MadeUpKeyframe, options: ReadOptions) -> Frame:
        if keyframe.token == "frame-00006":
            raise self.error("disk is full: made up")
        return super().read(keyframe, options)


def test_mistakes_in_workers_end_the_job_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        write(Failing(12), tmp_path)
    assert str(caught.value) == "disk is full: made up"
    assert "manifest.json" not in contents(tmp_path)


def test_any_error_of_a_source_is_one_bad_frame_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"1 of 12 frames .*frame-00006: KeyError: .*made up.*test_write.py:\d+"
    ):
        write(Failing(12, error=KeyError), tmp_path)
    assert len(write(Failing(12, error=KeyError), tmp_path, max_bad=1).bad) == 1


@dataclass
class Deadly(MadeUp):
    """Kills the process that reads frame 6, the first time."""

    marker: str = ""

    def read(self, keyframe: MadeUpKeyframe, options: ReadOptions) -> Frame:
        if keyframe.token == "frame-00006" and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(keyframe, options)


def test_lost_worker_is_replaced(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    manifest = write(Deadly(12, marker=str(marker)), tmp_path / "out")
    assert marker.exists() and manifest.samples == 12


def test_disk_without_room_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "free", lambda path: 20_000)
    with pytest.raises(StorageError, match=r"disk is full: need about .* MB, 0.0 MB free at"):
        write(MadeUp(12), tmp_path)
    assert contents(tmp_path) == {}
    assert write(MadeUp(1), tmp_path).samples == 1


def test_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        write(MadeUp(4), tmp_path / "file" / "out")


def test_unknown_split_is_answered_by_the_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known: train"):
        write_shards(MadeUp(4), "test", str(tmp_path), OPTIONS, progress=False)
