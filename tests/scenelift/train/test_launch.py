"""Two workers on Ray Train: a killed one changes nothing, a user's mistake ends the run at once."""

import contextlib
import ipaddress
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from scenelift.cluster import ray_internals, resources
from scenelift.config.build import override
from scenelift.errors import ClusterError, ConfigError, TrainingError
from scenelift.io.interrupts import Terminated, own_handlers, raise_interrupts
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig, WatchConfig
from scenelift.train.job import Job
from scenelift.train.launch import Resources, _Listener, launch
from scenelift.train.method import Method
from scenelift.train.watch import READING, Beat, Watch
from tests.made.frames import VOCABULARY, MadeUp

VOXELS = VoxelConfig(4.0, "geometry", 1 / 255)


class Fragile(Method):
    """Learns a constant; kills its own process, or spoils its loss, at one step of the first attempt."""

    def __init__(self, mark: Path, kill_at=None, spoil_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.student = Student(
            StudentConfig(VOXELS, NetworkConfig(8, (8,), (8,))),
            1,
            torch.eye(3, 8),
            VOCABULARY,
            {"semantic": 8},
        )
        self.weights = {"height": 1.0}
        self.mark, self.kill_at, self.spoil_at = mark, kill_at, spoil_at
        mark.with_name(f"pid-{os.getpid()}").touch()

    def forward(self, batch, progress):
        if progress.step == self.kill_at and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        logits = self.student.class_logits(self.student(batch.voxels))
        loss = (logits[:, 0] - batch.voxels.features[:, 1]).square().mean()
        return {"height": loss * float("nan") if progress.step == self.spoil_at else loss}


class Build:
    """Pickles by value with its arguments; a worker calls it."""

    def __init__(self, *args):
        self.args = args

    def __call__(self):
        return Fragile(*self.args)


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("launch") / "shards")
    write_shards(MadeUp(12), None, folder, ReadOptions(image_size=(8, 12)), 4, progress=False)
    return folder


@pytest.fixture
def job(shards, tmp_path):
    return Job(
        samples=Shards.open(shards),
        folder=tmp_path / "checkpoints",
        loop=LoopConfig(epochs=2, batch=4, checkpoint_every=2, log_every=1),
        optimizer=OptimizerConfig("adamw", lr=1e-2),
        collate=Collate(VOXELS, Augmentation()),
        build=Build(tmp_path / "mark"),
    )


@pytest.mark.ray
def test_a_killed_worker_changes_nothing(job, tmp_path):
    resources = Resources(workers=2, cpus=0.5, gpus=0)
    events: list[dict] = []
    whole = launch(job, resources, events.append)
    assert [e["step"] for e in events if e["kind"] == "metrics"] == [1, 2, 3, 4, 5, 6]
    again: list[dict] = []
    broken = replace(job, folder=tmp_path / "broken", build=Build(tmp_path / "mark", 3))
    last = launch(broken, resources, again.append)
    assert (tmp_path / "mark").exists(), "a worker was killed"
    assert [e["step"] for e in again if e["kind"] == "start"] == [0, 2]
    assert last.step == whole.step == 6
    one, two = Student.load(whole.folder).state_dict(), Student.load(last.folder).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def listening():
    """(address, process) of every socket on which this process and those that it started wait for others."""
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has ended
            for each in process.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN:
                    yield ipaddress.ip_address(each.laddr.ip), process.name()


@pytest.mark.ray
def test_a_local_ray_and_its_training_listen_on_loopback_only(job):
    found = set()
    launch(job, Resources(workers=2, cpus=0.5, gpus=0), lambda event: found.update(listening()))
    names = {name for _, name in found}
    assert {"raylet", "gcs_server"} <= names and any("Train" in name for name in names)
    open_to_others = [
        (ip, name) for ip, name in found if not (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
    ]
    assert not open_to_others


@pytest.mark.ray
@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_an_interrupted_training_leaves_a_checkpoint_and_goes_on(job, number, kind):
    """Ray Train takes Ctrl-C for itself and calls it a failure; Ray ends the process at SIGTERM."""
    loop = replace(job.loop, epochs=10_000, checkpoint_every=10**6)
    events: list[dict] = []

    def interrupt(event):
        if event["kind"] == "metrics" and not any(e["kind"] == "metrics" for e in events):
            os.kill(os.getpid(), number)
        events.append(event)

    with own_handlers():
        raise_interrupts()
        with pytest.raises(kind):
            launch(replace(job, loop=loop), Resources(workers=2, cpus=0.5, gpus=0), interrupt)
    left = job.checkpoints.latest()
    assert left is not None, "a checkpoint was written"
    going_on = replace(job, loop=replace(loop, epochs=left.step // 3 + 2))
    events.clear()
    final = launch(going_on, Resources(workers=2, cpus=0.5, gpus=0), events.append)
    assert events[0]["step"] == left.step < final.step


def peaking(student, epoch, epochs, rank, workers):
    """A validation whose best epoch is the second."""
    return {"validation/miou": 1 / (1 + abs(epoch - 2))}


@pytest.mark.ray
def test_two_workers_agree_on_the_best_and_on_when_to_stop(job, tmp_path):
    """Killed after the best, they stop where they would have, and the run is about the best checkpoint."""
    watch = WatchConfig(early_stopping=2, keep_best=True, final="best", ema=0.5)
    loop = replace(job.loop, epochs=9, checkpoint_every=4, keep=1, watch=watch)
    events: list[dict] = []
    watched = replace(job, loop=loop, validation=peaking, build=Build(tmp_path / "mark", 10))
    final = launch(watched, Resources(workers=2, cpus=0.5, gpus=0), events.append)
    assert [e["step"] for e in events if e["kind"] == "start"] == [0, 8]
    assert (final.step, final.score) == (6, 1.0) and watched.checkpoints.latest().step == 12
    assert events[-1]["kind"] == "stopped"


def test_switches_that_go_by_validation_need_one():
    job = partial(Job, None, "folder", optimizer=OptimizerConfig(), collate=None, build=None)
    with pytest.raises(ConfigError, match="no samples are held out"):
        job(loop=LoopConfig(watch=WatchConfig(early_stopping=1)))
    job(loop=LoopConfig(watch=WatchConfig(early_stopping=1)), validation=peaking)


@pytest.mark.ray
def test_a_mistake_ends_the_run_without_another_attempt(job, tmp_path):
    spoiled = replace(job, build=Build(tmp_path / "mark", None, 1))
    events: list[dict] = []
    with pytest.raises(TrainingError, match="not finite"):
        launch(spoiled, Resources(workers=2, cpus=0.5, gpus=0), events.append)
    assert len([e for e in events if e["kind"] == "start"]) == 1


@pytest.mark.ray
def test_as_many_workers_train_as_there_is_room_for_and_nothing_else_changes(job, tmp_path):
    """Of a Ray with four CPUs reading keeps one: three workers take the four micro-batches of a step in turn."""
    small = replace(job, loop=replace(job.loop, epochs=1))
    events: list[dict] = []
    last = launch(small, Resources(workers=4, cpus=1, gpus=0, min_workers=2), events.append)
    assert [(e["workers"], e["rounds"]) for e in events if e["kind"] == "start"] == [(3, 2)]
    alone = replace(small, folder=tmp_path / "alone", loop=replace(small.loop, accumulate=4))
    same = launch(alone, Resources(workers=1, cpus=1, gpus=0), [].append)
    one, two = Student.load(last.folder).state_dict(), Student.load(same.folder).state_dict()
    moved = [name for name in one if "running" not in name and "batches" not in name]
    assert moved and all(torch.allclose(one[name], two[name], atol=1e-4) for name in moved)


@pytest.mark.parametrize(
    ("workers", "least", "most"), [(1, 1, 1), ("4", 4, 4), ("2-8", 2, 8), ("2 - 8", 2, 8), ("3-3", 3, 3)]
)
def test_workers_are_a_number_or_a_range(workers, least, most):
    scale = ScaleConfig(workers=workers)
    assert (scale.min_workers, scale.max_workers) == (least, most)
    assert override(ScaleConfig(), {"workers": str(workers)}).max_workers == most


@pytest.mark.parametrize("workers", [0, -1, "8-2", "0-4", "many", "2-", "2..8"])
def test_other_words_for_workers_are_refused(workers):
    with pytest.raises(ConfigError, match=r"a range such as 2-8|^workers must be at least 1"):
        ScaleConfig(workers=workers)


@pytest.mark.parametrize(
    ("workers", "there", "gpus", "trained"),
    [
        (2, 0, 0, 2),
        (2, 1, 1, 1),
        (2, 2, 1, 2),
        (2, 8, 1, 2),
        (6, 5, 1, 3),
        ("2-8", 1, 1, 1),
        ("2-8", 3, 1, 8),
    ],
)
def test_a_gpu_is_never_left_idle_for_want_of_another(workers, there, gpus, trained):
    """A preset of two workers on a machine with one GPU trains there, not on its CPUs."""
    scale = ScaleConfig(workers=workers).on(there)
    assert (scale.gpus, scale.max_workers) == (gpus, trained)
    assert ScaleConfig(workers=workers).max_workers % scale.max_workers == 0, "the batch can be split so"
    assert ScaleConfig(workers=2, gpus=0).on(there).gpus == 0, "CPUs where they are asked for"


def test_one_gpu_and_a_preset_of_two_workers_trains_on_it_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv(resources.GROWS_TO, '[{"CPU": 16, "GPU": 1, "machines": 1}]')
    monkeypatch.setattr(resources, "cores", lambda: 16)
    fitted = Resources.fit(ScaleConfig(workers=2))
    assert (fitted.workers, fitted.gpus, fitted.device) == (1, 1.0, "cuda")
    assert "1 GPU for 2 workers: 1 train there" in capsys.readouterr().err


def test_workers_do_not_share_a_gpu():
    with pytest.raises(ConfigError, match=r"workers cannot share a GPU"):
        ScaleConfig(workers=2, gpus=0.5)
    ScaleConfig(workers=1, gpus=0.5)


@pytest.mark.parametrize(
    ("cpus", "machines", "wanted"),
    [
        (8, 4, Resources(8, 3.0, 0.0, 2)),
        (2, 2, Resources(8, 1.0, 0.0, 2)),
        (64, 1, Resources(8, 7.0, 0.0, 2)),
        (64, 1, Resources(8, 6.0, 0.0, 2, data_cpus=9.0, placement="spread")),
    ],
)
def test_a_range_is_placed_where_its_least_fits(cpus, machines, wanted, monkeypatch):
    monkeypatch.setenv(resources.GROWS_TO, f'[{{"CPU": {cpus}, "machines": {machines}}}]')
    monkeypatch.setattr(resources, "cores", lambda: cpus)
    scale = ScaleConfig(workers="2-8", data_cpus=wanted.data_cpus, placement=wanted.placement)
    assert Resources.fit(scale) == wanted


@pytest.mark.parametrize(("free", "kind"), [(0.4, "starved"), (0.5, "stalled")])
def test_a_training_that_stands_still_says_so_once(free, kind, monkeypatch):
    """Two workers may fit a cluster that lost a machine, and leave its readers no place."""

    class Silent:
        def beats(self):
            return [Beat(0, 1, "here", 7, 10, READING, age=9.0)]

    monkeypatch.setattr(ray_internals, "most_free", lambda: free)
    monkeypatch.setattr("scenelift.train.launch.EVERY", 0.0)
    heard: list[dict] = []
    listener = _Listener(Silent(), heard.append)
    listener.watch = Watch(8.0)
    for _ in range(2):
        listener._watch()
    assert [(event["kind"], event["step"]) for event in heard] == [(kind, 10)]
    if kind == "stalled":
        assert heard[0]["workers"] == ["rank 0 on here (PID 7) is silent; last: waiting for data"]


@pytest.mark.ray
def test_a_stopped_worker_is_named(job, monkeypatch, tmp_path):
    """SIGSTOP of one of two; it goes on as soon as it was named, and nothing is lost."""
    monkeypatch.setattr("scenelift.train.watch.SILENCE", 12.0)
    named: list[str] = []
    stopped: list[psutil.Process] = []

    def listen(event):
        if event["kind"] == "metrics" and not stopped:
            stopped.append(psutil.Process(int(next(tmp_path.glob("pid-*")).name[4:])))
            stopped[0].suspend()
        if event["kind"] == "stalled" and not named:
            named.extend(event["workers"])
            stopped[0].resume()

    last = launch(
        replace(job, loop=replace(job.loop, epochs=20)), Resources(workers=2, cpus=0.5, gpus=0), listen
    )
    assert [f"(PID {stopped[0].pid}) is silent; last: " in who for who in named] == [True]
    assert last.step == 60


def test_reading_without_a_cpu_is_refused():
    with pytest.raises(ConfigError, match=r"data_cpus must be more than 0, not 0"):
        ScaleConfig(data_cpus=0)


def test_a_range_whose_least_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setenv(resources.GROWS_TO, '[{"CPU": 1, "machines": 2}]')
    with pytest.raises(ClusterError, match=r"2 workers of .* do not fit"):
        Resources.fit(ScaleConfig(workers="2-8", cpus=1))


@pytest.mark.ray
def test_more_workers_than_fit_are_refused_with_the_number_that_fits(ray_session):
    with pytest.raises(ClusterError, match=r"lower scale.workers to \d"):
        Resources.fit(ScaleConfig(workers=99))
