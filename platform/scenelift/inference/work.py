"""What a job labels, by whom, and where the labels go."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scenelift.config import files
from scenelift.errors import ConfigError, DataError
from scenelift.inference import scans
from scenelift.inference.config import InputConfig, PredictConfig
from scenelift.inference.files.clouds import ABOUT, CloudFile, find_clouds
from scenelift.inference.files.labelled import Labelled
from scenelift.inference.files.outputs import Format, write_labels
from scenelift.inference.labeler import Extra, Labeler, Question, load
from scenelift.inference.scans import Scan
from scenelift.inference.words import Classes
from scenelift.io import storage
from scenelift.io.secrets import address

if TYPE_CHECKING:
    from scenelift.samples.frame import Frame
    from scenelift.shards.read import Samples

VERSION = 1
MIGRATIONS: files.Migrations = {}
_COLORS = (
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180)),
    *((70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (170, 110, 40)),
)
"""Of own words, in turn."""


class Scans(Protocol):
    """What is to be labelled; small to pickle."""

    @property
    def names(self) -> Sequence[str]:
        """Of the clouds; the paths of their labels follow from them."""

    def __getitem__(self, index: int) -> Scan:
        """One of them, not yet read."""


@dataclass(frozen=True)
class FileScans:
    """Plain files."""

    files: tuple[CloudFile, ...]
    reading: InputConfig

    @property
    def names(self) -> Sequence[str]:
        return [file.name for file in self.files]

    def __getitem__(self, index: int) -> Scan:
        return scans.of_file(self.files[index], self.reading)


@dataclass(frozen=True)
class ShardScans:
    """Frames of shards."""

    shards: Samples[Frame]
    reading: InputConfig

    @property
    def names(self) -> Sequence[str]:
        return self.shards.tokens

    def __getitem__(self, index: int) -> Scan:
        return scans.of_frame(self.shards.read(index), self.reading)


def require_scale_alone(reading: InputConfig) -> None:
    """ConfigError for options that shards and data sets, which know their columns, would ignore."""
    if reading.values is not None or reading.columns is not None:
        raise ConfigError(
            "--input.values and --input.columns are for plain files; shards and data sets know them"
        )


def open_scans(config: PredictConfig) -> Scans:
    """What `data` holds; DataError if that is nothing."""
    assert config.data is not None, "check_here"
    if "://" in config.data or (Path(config.data).expanduser() / "manifest.json").exists():
        from scenelift.shards.read import Shards  # reads Parquet

        require_scale_alone(config.input)
        return ShardScans(Shards.open(config.data), config.input)
    return FileScans(tuple(find_clouds(config.data, config.input.values)), config.input)


@dataclass(frozen=True)
class Work:
    """A job."""

    config: PredictConfig
    scans: Scans
    format: Format
    out: str
    """Folder or URI."""

    def target(self, name: str) -> str:
        """The file with the labels of a cloud."""
        place = PurePosixPath(self.format.place(name))
        if place.is_absolute() or ".." in place.parts:
            raise DataError(f"{name} would be written outside of {address(self.out)}; give it a plain name")
        return storage.join(self.out, str(place))

    def done(self, name: str) -> bool:
        """Whether a cloud has its labels."""
        return storage.exists(*storage.resolve(self.target(name)))

    def worker(self, device: str | None = None) -> Worker:
        """Loads the student; device: None: that of the job."""
        config = self.config
        assert config.student is not None, "check_here"
        chosen = device or (None if config.device == "auto" else config.device)
        labeler = load(config.student, chosen, config.teacher)
        extras: list[Extra] = ["scores"] if config.scores else []
        extras += ["features"] if config.features else []
        background = "own" if config.background == ("own",) else config.background
        question = labeler.question(own_words(config.classes), background, config.threshold, extras)
        if len(question.asking.classes) > self.format.most:
            raise ConfigError(
                f"{config.format} has room for {self.format.most} classes; choose another --format"
            )
        if self.format.classes and question.asking.classes != self.format.classes:
            raise ConfigError(
                f"{config.format} is for the classes {', '.join(self.format.classes)}; the student names "
                f"{', '.join(question.asking.classes)}"
            )
        return Worker(self, labeler, question)


class Worker:
    """One process that labels clouds of a job."""

    def __init__(self, work: Work, labeler: Labeler, question: Question) -> None:
        self.work, self.labeler, self.question = work, labeler, question
        own = dict(zip(labeler.classes, labeler.vocabulary.colors, strict=True))
        self.classes = question.asking.classes
        self.colors = tuple(own.get(name, _COLORS[i % len(_COLORS)]) for i, name in enumerate(self.classes))

    def begin(self) -> None:
        """Make the job's folder and say in it what its labels are. ConfigError if it has others."""
        config, out = self.work.config, self.work.out
        pairs = enumerate(zip(self.classes, self.colors, strict=True), 1)
        about = {
            "student": fingerprint(self.labeler),
            "format": config.format,
            "classes": [{"id": i, "name": name, "color": color} for i, (name, color) in pairs],
            "words": own_words(config.classes),
            "options": {
                name: getattr(config, name) for name in ("background", "threshold", "scores", "features")
            },
            "input": vars(config.input),
        }
        text, path = json.dumps(files.stamp(about, VERSION), indent=1), storage.join(out, ABOUT)
        if not storage.exists(*storage.resolve(path)):
            if taken := next(filter(self.work.done, self.work.scans.names), None):
                raise ConfigError(
                    f"{address(self.work.target(taken))} is there, and is no label of ours; give another --out"
                )
            storage.make_folder(*storage.resolve(out))
            storage.write_text(path, text)
        elif files.parse(storage.read(path), path, ConfigError) != json.loads(text):
            raise ConfigError(
                f"{address(out)} has labels of another student, or of other options; give another --out"
            )

    def label(self, index: int) -> Done:
        """Label one cloud and write it; an error that is of the cloud is returned."""
        work, name = self.work, self.work.scans.names[index]
        try:
            with tempfile.TemporaryDirectory(prefix="scenelift-") as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # points that are not finite are counted
                scan = work.scans[index]
                labels = scan.label(self.labeler, self.question, Path(folder))
                cloud = Labelled(scan.chunks, labels, self.colors, scan.source)
                write_labels(work.target(name), work.format, cloud)
                counts = np.bincount(labels.ids, minlength=1 + len(labels.classes))
                total = float(labels.confidence.sum(dtype=np.float64))
                holes = int((labels.confidence == 0).sum())
                return Done(name, len(labels), tuple(counts.tolist()), total, holes)
        except DataError as error:
            text = str(error)
            return Done(name, error=text if name in text else f"{name}: {text}")


@dataclass(frozen=True)
class Done:
    """What became of one cloud."""

    name: str
    points: int = 0
    counts: tuple[int, ...] = ()
    """Points of which nothing is said, then of each class."""
    confidence: float = 0.0
    """Sum over the points."""
    holes: int = 0
    """Points that are not finite."""
    error: str = ""
    """Why it could not be labelled."""


def own_words(given: tuple[str, ...] | None) -> Classes | None:
    """Words of the command line, or those of a .json file, {name: [words]}."""
    if given is None or len(given) != 1 or not given[0].endswith(".json"):
        return given
    path = Path(given[0]).expanduser()
    try:
        words = files.parse(storage.read(path, 1 << 20), path, ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"classes: there is no {path}") from None
    if not isinstance(words, dict):
        raise ConfigError(f'{path} must be {{name: [words]}}, such as {{"car": ["car", "van"]}}')
    return words


def fingerprint(labeler: Labeler) -> str:
    """Changes with the student's weights and classes."""
    digest = hashlib.sha256(labeler.vocabulary.version.encode())
    for name, tensor in sorted(labeler.student.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
