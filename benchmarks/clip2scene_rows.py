"""The rows of CLIP2Scene's tables as runs: on the synthetic world, and with the papers' presets on real shards."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scenelift.config.build import Value, override
from scenelift.errors import ConfigError
from scenelift.runs.folder import Run
from scenelift.runs.run import run
from trainables.distill import config as distill_config
from trainables.distill.task import DistillTask
from trainables.finetune import config as finetune_config
from trainables.finetune.task import FinetuneTask
from trainables.pretrain import config as pretrain_config
from trainables.pretrain.task import PretrainTask

Options = Mapping[str, Value]

RUNS = Path("runs")
TRAININGS: dict[str, tuple[Mapping[str, Any], Any]] = {
    "distill": (distill_config.PRESETS, DistillTask),
    "pretrain": (pretrain_config.PRESETS, PretrainTask),
    "finetune": (finetune_config.PRESETS, FinetuneTask),
}
"""Trainable -> its presets and its task."""
WITHOUT: dict[str, Options] = {
    "clip2scene": {},
    "no-spatial-temporal": {"loss.spatial_temporal": 0.0},
    "no-self-training": {"self_training.start": None},
    "no-semantic": {"loss.semantic": 0.0, "self_training.start": None},
}
"""Rows of the synthetic ablation: what is removed from the complete method."""
STARTS = {
    "random": ("random", "synthetic"),
    "ppkt": ("ppkt", "synthetic"),
    "slidr": ("slidr", "synthetic"),
    "clip2scene": ("clip2scene", "synthetic"),
    "clip2scene-text": ("clip2scene", "synthetic_text"),
}
"""Rows of synthetic fine-tuning: the pre-training that they start from, and their preset."""
_BASELINE: Options = {
    "augmentation.lidar_sweeps": 0,
    "loss.spatial_temporal": 0.0,
    "self_training.start": None,
}
ABLATIONS: dict[str, Options] = {
    "clip2scene": {},
    "baseline": _BASELINE,
    "prompts-semantickitti": {**_BASELINE, "prompts": "semantickitti"},
    "prompts-cityscapes": {**_BASELINE, "prompts": "cityscapes"},
    "prompts-all": {**_BASELINE, "prompts": "all"},
    "no-spatial-temporal": {"loss.spatial_temporal": 0.0},
    "no-semantic": {"loss.semantic": 0.0, "self_training.start": None},
    "divergence": {
        "loss.semantic_form": "divergence",
        "loss.spatial_temporal": 0.0,
        "self_training.start": None,
    },
    "no-switching": {"self_training.start": None},
    "own-labels": {"self_training.start": 10, "self_training.probability": 1.0},
    "1-sweep": {"augmentation.lidar_sweeps": 0},
    "5-sweeps": {"augmentation.lidar_sweeps": 4},
    "merged": {"augmentation.merge": True},
}
"""Rows of the paper's Tables 2 and 3 on nuScenes: what they change in `paper_nuscenes`."""
_SHARED: Options = {
    "student.network": "spvcnn",
    "student.voxels.grid": "cartesian",
    "augmentation.drop_cuboid": 0.0,
}
"""All rows of the paper's Table 1 have the network, grid and augmentation of CLIP2Scene."""


@dataclass(frozen=True)
class Entry:
    """One run of a table."""

    row: str
    seed: int
    command: str
    """The trainable."""
    preset: str
    options: Options = field(default_factory=dict)
    start: str | None = None
    """The row whose student it starts from."""

    @property
    def name(self) -> str:
        return f"table-{self.row}-{self.seed}"

    @property
    def values(self) -> dict[str, Value]:
        """All options of the run but its name."""
        start = {} if self.start is None else {"start": str(self._start)}
        return {"loop.seed": self.seed, **self.options, **start}

    @property
    def config(self) -> Any:
        return override(TRAININGS[self.command][0][self.preset], self.values)

    @property
    def text(self) -> str:
        """The run as a command to paste; of a run that is begun, the one that goes on with it."""
        named: Options = {"run.name": self.name}
        options: Options = {**named, "run.resume": True} if self.begun else {**self.values, **named}
        words = [word for key, value in options.items() for word in (f"--{key}", _text(value))]
        preset = [] if self.begun else [self.preset]
        return shlex.join(["python", "-m", f"trainables.{self.command}", *preset, *words])

    @property
    def status(self) -> str:
        """Of the run's folder: finished, interrupted and so on; waiting for a start, or not begun."""
        if self.begun:
            return Run(RUNS / self.name).status
        return "not begun" if self.ready else f"waiting for {self.start}"

    @property
    def begun(self) -> bool:
        return (RUNS / self.name / "config.yaml").exists()

    @property
    def ready(self) -> bool:
        """Whether the student that it starts from is there."""
        return self.start is None or self._start.exists()

    @property
    def _start(self) -> Path:
        return RUNS / f"table-{self.start}-{self.seed}" / "student"

    def check(self) -> None:
        """Raises a SceneliftError for missing files, and for shards that lack what the row needs."""
        config = self.config
        config.check_here()
        TRAININGS[self.command][1](config)

    def run(self, preflight_steps: int = 0) -> None:
        """Train and score, from the newest checkpoint if there is one; or measure some steps."""
        config = self.config
        settings = replace(config.run, name=self.name, resume=self.begun)
        loop = replace(config.loop, preflight_steps=preflight_steps)
        run(TRAININGS[self.command][1](replace(config, run=settings, loop=loop)))


def synthetic(seed: int, epochs: int) -> Iterator[Entry]:
    """The runs of one seed on the synthetic world; runs that others start from come first."""
    full = distill_config.PRESETS["synthetic_whole"]
    assert full.self_training.start is not None
    switch = min(epochs - 1, round(epochs * full.self_training.start / full.loop.epochs))
    for row, removed in WITHOUT.items():
        values = {"loop.epochs": epochs, "self_training.start": switch, **removed}
        yield Entry(row, seed, "distill", "synthetic_whole", values)
    for method in ("ppkt", "slidr"):
        yield Entry(method, seed, "pretrain", "synthetic", {"method": method, "loop.epochs": epochs})
    yield Entry("supervised", seed, "finetune", "synthetic")
    for fraction in (0.01, 0.1):
        for row, (start, preset) in STARTS.items():
            name, options = f"{fraction:g}-from-{row}", {"labels.fraction": fraction}
            yield Entry(name, seed, "finetune", preset, options, None if start == "random" else start)


def paper(data: Path, seed: int) -> Iterator[Entry]:
    """The rows of the paper's tables that a command gives (docs/clip2scene.md), on nuScenes' shards in
    data/pretrain, data/train and data/val, and those in data/kitti-... and data/scannet-... if they are there;
    ConfigError without the former."""
    label_free = _folders(data, "pretrain", "val")
    for row, changed in ABLATIONS.items():
        yield Entry(row, seed, "distill", "paper_nuscenes", {**label_free, **changed})
    for method in ("ppkt", "slidr"):
        options = {"data.train": label_free["data.train"], **_SHARED}
        yield Entry(method, seed, "pretrain", f"paper_{method}", options)
    starts = (None, "ppkt", "slidr", "clip2scene")
    yield from _fine_tuning("nuscenes", seed, _folders(data, "train", "val"), (0.01, 1.0), starts)
    if (data / "kitti-train").exists():
        folders = _folders(data, "kitti-train", "kitti-val")
        yield from _fine_tuning("semantickitti", seed, folders, (0.01, 1.0), starts)
    if (data / "scannet-train").exists():
        folders = _folders(data, "scannet-train", "scannet-val")
        yield Entry("scannet-clip2scene", seed, "distill", "paper_scannet", folders)
        yield from _fine_tuning("scannet", seed, folders, (0.05, 1.0), (None, "scannet-clip2scene"))


def _fine_tuning(
    dataset: str, seed: int, folders: Options, fractions: tuple[float, ...], starts: tuple[str | None, ...]
) -> Iterator[Entry]:
    for fraction in fractions:
        for start in starts:
            row = f"{dataset}-{fraction:g}-from-{start or 'random'}"
            options = {**folders, "labels.fraction": fraction}
            yield Entry(row, seed, "finetune", f"paper_{dataset}", options, start)


def _folders(data: Path, train: str, test: str) -> dict[str, Value]:
    for name in (train, test):
        if not (data / name).exists():
            raise ConfigError(f"no shards {data / name}; docs/clip2scene.md has the commands that make them")
    return {"data.train": str(data / train), "data.test": str(data / test)}


def _text(value: Value) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
