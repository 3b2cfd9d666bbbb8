"""Runs, checkpoints and shards in a bucket: a server on localhost that is slow, fails, and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenelift.errors import ConfigError, StorageError
from scenelift.inference.config import PredictConfig
from scenelift.inference.job import run as predict
from scenelift.inference.labeler import Labeler, load
from scenelift.io import folders, storage
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation
from scenelift.runs.config import RunConfig
from scenelift.runs.experiment import experiment
from scenelift.runs.folder import Run
from scenelift.samples.config import ReadOptions
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import LoopConfig, OptimizerConfig
from scenelift.train.job import Job
from scenelift.train.launch import Resources, launch
from tests.made.checkpoints import state_of
from tests.made.frames import MadeUp
from tests.made.run_config import LeastConfig
from tests.made.s3_server import KEY, SECRET, S3Server
from tests.made.students import speaking_student
from tests.scenelift.train.test_launch import VOXELS, Build

pytestmark = pytest.mark.slow  # each starts a server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An empty bucket named `bucket`, found as a user's own would be: by the environment."""
    with S3Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        storage._resolve_uri.cache_clear()
        yield server
        storage._resolve_uri.cache_clear()


class Model:
    """A student of one number, that may be cut off while it is saved."""

    def __init__(self, value: float = 0.0, error: BaseException | None = None) -> None:
        self.value, self.error = value, error

    def save(self, folder: Path) -> None:
        (folder / "weight").write_text(str(self.value))
        if self.error:
            raise self.error

    def restore(self, folder: Path) -> None:
        self.value = float((folder / "weight").read_text())


def failing(times: int, status: int, of: str = "") -> Any:
    """Refuses the first so many requests whose method is `of`."""
    left = [times]

    def refuse(method: str, path: str) -> int:
        if left[0] and method.startswith(of):
            left[0] -= 1
            return status
        return 0

    return refuse


def test_a_checkpoint_in_a_bucket_is_what_was_saved(s3: S3Server) -> None:
    checkpoints = Checkpoints("s3://bucket/runs/a/checkpoints")
    assert checkpoints.latest() is None
    for step in (1, 2, 3):
        checkpoints.save(step, Model(step), {"step": step, "tensor": torch.arange(3)})
    assert [found.step for found in checkpoints.all()] == [2, 3], "the last two, of which one is the best"
    latest, model = checkpoints.latest(), Model()
    assert latest is not None and state_of(latest)["tensor"].tolist() == [0, 1, 2]
    with latest.fetched() as folder:
        model.restore(folder)
    assert model.value == 3


def test_a_checkpoint_is_there_with_its_last_file(s3: S3Server) -> None:
    """Whatever request a writer is killed before, the older checkpoint is the latest or the new one is whole."""
    checkpoints = Checkpoints("s3://bucket/c")
    checkpoints.save(1, Model(1), {"step": 1})
    s3.requests.clear()
    checkpoints.save(2, Model(2), {"step": 2})
    asked = [(method, path) for method, path in s3.requests if "step-00000002" in path and method != "HEAD"]
    last = max(number for number, (method, _) in enumerate(asked) if method in ("PUT", "POST"))
    assert folders.DONE in asked[last][1], "nothing is written after it"
    s3.delete("c/step-00000002/weight")
    latest = checkpoints.latest()
    assert latest is not None and latest.step == 1
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(3, Model(error=KeyboardInterrupt()), {})
    assert not [key for key in s3.names() if "step-00000003/" in key[: -len("x")]]


def test_a_bucket_that_fails_now_and_then_is_asked_again(s3: S3Server) -> None:
    checkpoints = Checkpoints("s3://bucket/c")
    for status in (500, 503):
        s3.refuse = failing(1, status, of="P")
        checkpoints.save(status, Model(status), {"step": status})
        s3.refuse = failing(1, status, of="G")
        latest = checkpoints.latest()
        assert latest is not None and state_of(latest) == {"step": status}


def test_an_answer_may_take_longer_than_the_clients_three_seconds(s3: S3Server) -> None:
    storage.write_atomic(*storage.resolve("s3://bucket/a"), b"slow")
    s3.delay = 3.6
    s3.requests.clear()
    assert storage.read_bytes(*storage.resolve("s3://bucket/a")) == b"slow"
    assert [method for method, _ in s3.requests] == ["HEAD", "GET"], "nothing was asked twice"


def test_a_bucket_that_always_fails_is_named_with_what_to_do(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    checkpoints = Checkpoints("s3://bucket/runs/a/checkpoints")
    checkpoints.save(1, Model(), {"step": 1})
    s3.refuse = lambda method, path: 503 if method in ("PUT", "POST") else 0
    with pytest.raises(
        StorageError,
        match=r"s3://bucket/runs/a/checkpoints.*slow down: run the command again later.*--run.resume true",
    ):
        checkpoints.save(2, Model(), {"step": 2})
    s3.refuse = lambda method, path: 0
    latest = checkpoints.latest()
    assert latest is not None and latest.step == 1
    with pytest.raises(StorageError, match=r"s3://nobody/a.*no such bucket: check its name"):
        storage.write_atomic(*storage.resolve("s3://nobody/a"), b"")
    with pytest.raises(StorageError, match=r"nobody/x does not exist; check the path or the bucket's name"):
        storage.read_bytes(*storage.resolve("s3://nobody/x"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    storage._resolve_uri.cache_clear()
    with pytest.raises(StorageError, match=r"s3://bucket/a.*does not answer: check the network"):
        storage.read_bytes(*storage.resolve("s3://bucket/a"))


@dataclass(frozen=True)
class Config:
    value: int = 3


def opened(**settings: Any) -> Run:
    return Run.open("distill", Config(), RunConfig("a", "s3://bucket/runs", **settings))


def test_a_run_goes_on_from_a_bucket_on_another_machine(s3: S3Server) -> None:
    run = opened()
    run.save_identity({"run_id": "x"})
    run.record({"kind": "metrics", "step": 1, "values": {"loss/total": 1.0}})
    run.record({"kind": "checkpoint", "step": 1})
    with pytest.raises(ConfigError, match=r"--run.resume true"):
        opened()
    again = opened(resume=True)
    assert again.folder != run.folder and again.mlflow_run == "x"
    again.record({"kind": "start", "step": 1})
    assert [event["kind"] for event in again.history()] == ["metrics", "checkpoint", "start"]
    (again.pictures / "a.png").write_bytes(b"picture")
    again.finish({"status": "finished"})
    assert json.loads(s3.read("runs/a/result.json")) == {"schema_version": 1, "status": "finished"}
    assert s3.read("runs/a/config.yaml") == b"schema_version: 1\nvalue: 3\n"
    assert s3.read("runs/a/pictures/a.png") == b"picture"
    assert len(s3.read("runs/a/history.jsonl").splitlines()) == 3


def test_a_history_that_cannot_be_copied_now_is_copied_later(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    run = opened()
    s3.refuse = lambda method, path: 500
    run.record({"kind": "checkpoint", "step": 1})
    assert "history waits" in capsys.readouterr().err
    s3.refuse = lambda method, path: 0
    run.record({"kind": "checkpoint", "step": 2})
    assert len(s3.read("runs/a/history.jsonl").splitlines()) == 2


def test_an_experiment_in_a_bucket_records_on_this_machine(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracked: Callable[[Path], Path]
) -> None:
    tracked(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    settings = RunConfig("a", "s3://bucket/runs")
    with experiment("train", LeastConfig(run=settings), {}, {"least": LeastConfig()}, ()) as made:
        made.listen({"kind": "start", "step": 0, "steps": 4, "workers": 1, "rounds": 1, "device": "CPU"})
    result = json.loads(s3.read("runs/a/result.json"))
    assert result["status"] == "finished"
    assert result["mlflow"]["tracking_uri"] == f"sqlite:///{tmp_path}/runs/mlflow.db"


@pytest.mark.ray
def test_a_training_from_and_to_a_bucket_survives_a_killed_worker(
    ray_session: None, s3: S3Server, tmp_path: Path
) -> None:
    """Shards, checkpoints and Ray's own notes in a bucket that is slow and fails now and then."""
    options = f"?scheme=http&endpoint_override={s3.url.removeprefix('http://')}"
    place = (
        f"s3://{KEY}:{SECRET}@bucket/{{}}{options}"  # workers of this Ray do not see the test's environment
    )
    s3.delay, s3.refuse = 0.02, lambda method, path: 503 * (len(s3.requests) % 19 == 0)
    write_shards(MadeUp(12), None, place.format("shards"), ReadOptions(image_size=(8, 12)), 4, progress=False)
    assert Shards.open(place.format("shards")).read(5).token == "frame-00005"
    job = Job(
        samples=Shards.open(place.format("shards")),
        folder=place.format("runs/a/checkpoints"),
        loop=LoopConfig(epochs=2, batch=4, checkpoint_every=2, log_every=1),
        optimizer=OptimizerConfig("adamw", lr=1e-2),
        collate=Collate(VOXELS, Augmentation()),
        build=Build(tmp_path / "mark", 3),
    )
    events: list[dict[str, Any]] = []
    last = launch(job, Resources(workers=2, cpus=0.5, gpus=0), events.append)
    assert (tmp_path / "mark").exists(), "a worker was killed"
    assert [event["step"] for event in events if event["kind"] == "start"] == [0, 2]
    assert last.step == 6 and Student.load(last.folder).size


@pytest.mark.parametrize("inner", ["", "/student"])
def test_a_student_in_a_bucket_labels(s3: S3Server, inner: str) -> None:
    """Given its own folder, or that of its run; one that is not there is a sentence."""
    place, student = "s3://bucket/runs/one", speaking_student()
    with folders.written(f"{place}/student") as folder:
        student.save(folder)
    points = np.random.default_rng(0).uniform(0, 9, (40, 4))
    found = load(f"{place}{inner}", "cpu").predict(points)
    assert np.array_equal(found.ids, Labeler(student).predict(points).ids)
    with pytest.raises(ConfigError, match="there is no s3://bucket/runs/two"):
        load("s3://bucket/runs/two")


def test_labels_go_to_a_bucket_and_go_on_there(s3: S3Server, tmp_path: Path) -> None:
    speaking_student().save(tmp_path / "student")
    for name in ("a", "b"):
        np.save(tmp_path / name, np.random.default_rng(0).uniform(0, 9, (40, 4)))
    config = PredictConfig(
        str(tmp_path / "student"), str(tmp_path), "s3://bucket/labels", "label", device="cpu"
    )
    assert predict(config) == "s3://bucket/labels"
    names = storage.list_files(*storage.resolve("s3://bucket/labels"))
    assert names == {"a.label": 160, "b.label": 160, "predict.json": names["predict.json"]}
    s3.requests.clear()
    predict(config)
    assert not [path for method, path in s3.requests if method == "PUT"], "what is done stays"
