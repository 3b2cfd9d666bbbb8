"""`predict`: labels of many clouds, one file each, in this process or on a Ray cluster; goes on where it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from scenelift.config.build import nearest
from scenelift.errors import ConfigError, DataError, first_line
from scenelift.inference.config import PredictConfig
from scenelift.inference.files.outputs import FORMATS, Format
from scenelift.inference.work import Done, Scans, Work, Worker, open_scans
from scenelift.io import secrets, storage
from scenelift.io.console import Meter, say

_MODULE = ["python", "-m", "trainables.explore"]


def run(config: PredictConfig, found: Scans | None = None, formats: Mapping[str, Format] = FORMATS) -> str:
    """Label everything, say what there is, and return the folder. found: what to label, instead of `data`;
    formats: by name."""
    if config.format not in formats:
        raise ConfigError(f"unknown format {config.format}; {nearest(config.format, formats)}")
    found = open_scans(config) if found is None else found
    if not found.names:
        raise DataError("there is no cloud to label; look at --data, or at --root and --split")
    if formats[config.format].finish is not None and "://" in config.out:
        raise ConfigError(f"--format {config.format} is checked when it is done; give --out a local folder")
    work = Work(config, found, formats[config.format], storage.absolute(config.out))
    worker = work.worker("cpu" if config.workers > 1 else None)
    worker.begin()
    missing = [i for i, name in enumerate(found.names) if not work.done(name)]
    if len(missing) < len(found.names):
        say(f"{len(found.names) - len(missing):,} of {len(found.names):,} are labelled already, and stay")
    totals = Totals(worker.classes)
    for done in _side_by_side(work, missing) if config.workers > 1 and missing else _here(worker, missing):
        if done.error:
            say(f"not labelled: {done.error}")
        totals.add(done)
        if len(totals.bad) > config.max_bad:
            more = f"to label the others all the same, write --max_bad {2 * config.max_bad + 1}"
            raise DataError(f"{done.error}; {more}")
    if (finish := formats[config.format].finish) is not None:
        finish(Path(work.out))
    print(totals.table())
    print(f"labels: {secrets.address(work.out)}")
    if config.data is not None:
        print(f"next: {_explore(config)}")
    return work.out


def _explore(config: PredictConfig) -> str:
    """The command that shows the labels, as the one that made them was called."""
    called = ["scenelift", "explore"] if Path(sys.argv[0]).stem == "scenelift" else _MODULE
    return secrets.command([*called, "--student", str(config.student), "--data", str(config.data)])


def _here(worker: Worker, missing: list[int]) -> Iterator[Done]:
    with Meter("labelling", len(missing), "clouds") as meter:
        for index in missing:
            yield worker.label(index)
            meter.add()


def _side_by_side(work: Work, missing: list[int]) -> Iterator[Done]:
    try:
        from scenelift.cluster import connect as cluster
        from scenelift.evaluation.scoring import score
        from scenelift.train.launch import Resources
    except ImportError as error:
        raise ConfigError(
            f"several workers want Ray ({first_line(error)}): pip install 'scenelift[train]', or --workers 1"
        ) from None
    from scenelift.train.config import ScaleConfig

    with cluster.connect():
        gpus = 0.0 if work.config.device == "cpu" else None
        resources = Resources.fit(ScaleConfig(workers=work.config.workers, gpus=gpus))
        chosen: Any = _Chosen(work, tuple(missing))
        for part in score(chosen, partial(_build, work), "labelling", resources.workers, resources.gpus):
            yield from part


@dataclass(frozen=True)
class _Chosen:
    """The clouds of a job, as `score` takes samples."""

    work: Work
    indices: tuple[int, ...]
    kind = SimpleNamespace(name="cloud")

    def __len__(self) -> int:
        return len(self.indices)

    def read_many(self, chosen: Sequence[int]) -> list[int]:
        """Numbers of clouds; they are read where they are labelled."""
        return [self.indices[i] for i in chosen]


def _build(work: Work, device: torch.device) -> Callable[[list[int]], list[Done]]:
    worker = work.worker(str(device))
    return lambda numbers: [worker.label(number) for number in numbers]


@dataclass
class Totals:
    """Sums over a job."""

    classes: tuple[str, ...]
    clouds: int = 0
    points: int = 0
    confidence: float = 0.0
    holes: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros(1 + len(self.classes), np.int64)
        self.bad: list[str] = []

    def add(self, done: Done) -> None:
        """Count one cloud."""
        if done.error:
            self.bad.append(done.error)
            return
        self.clouds, self.points = self.clouds + 1, self.points + done.points
        self.confidence += done.confidence
        self.holes += done.holes
        self.counts += np.array(done.counts)

    def table(self) -> str:
        """What there is, the most frequent first."""
        lines = [f"{self.clouds:,} clouds, {self.points:,} points"]
        if self.points:
            lines[0] += f", mean confidence {self.confidence / self.points:.2f}"
        for i in np.argsort(-self.counts, kind="stable").tolist():
            if self.counts[i]:
                name = self.classes[i - 1] if i else "(nothing said)"
                lines.append(f"  {name:<24}{self.counts[i]:>12,}{self.counts[i] / self.points:>8.1%}")
        lines += [f"{self.holes:,} points are not finite and have no label"] if self.holes else []
        lines += [f"{len(self.bad)} could not be labelled"] if self.bad else []
        return "\n".join(lines)
