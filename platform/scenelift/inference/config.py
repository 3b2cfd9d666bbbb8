"""Settings of `predict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from scenelift.config.constraints import (
    Exists,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from scenelift.errors import ConfigError

StudentPlace = Annotated[
    str,
    Exists("give runs/NAME/student, a run's folder, a bucket, or models:/NAME@ALIAS; a training makes one"),
]


@dataclass(frozen=True)
class InputConfig(Settings):
    """How points are read."""

    values: PositiveInt | None = None
    """Float32 values of a point in raw .bin files: 4 as KITTI has them, 5 as nuScenes; none: whichever fits. For
    plain files, as `columns` is; shards and data sets know both."""
    columns: tuple[str, ...] | None = None
    """Columns that are the points' features, such as intensity, or red green blue; none: the obvious ones; zeros:
    there are none."""
    scale: PositiveFloat = 1.0
    """The features are multiplied by this, to be scaled as where the student was trained: 255 for intensities of
    0..1 and a student of nuScenes, 0.00389 for the 16 bits of LAS."""
    offset: Annotated[float, Ge(-1e6), Le(1e6)] = 0.0
    """Then this is added."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values is not None and self.values < 3:
            raise ConfigError(f"input.values counts x, y and z too, so it is 3 or more, not {self.values}")


@dataclass(frozen=True)
class PredictConfig(Settings):
    """Labels for every point of a folder of scans, of a file, or of shards, in the order of the points.

    What is done already is left as it is, so that an interrupted job goes on where it was.
    """

    student: StudentPlace | None = None
    """A trained student: its folder or URI, that of its run, or an address of MLflow."""
    data: Annotated[str, Exists()] | None = None
    """Shards, a folder, or a file: .bin of KITTI and nuScenes, .npy, .npz, .ply, .pcd, .las, .laz, .e57."""
    out: str = "labels"
    """Folder or URI for the labels, one file a cloud, named after it."""
    format: str = "ply"
    """ply, las, npz, parquet; label: raw uint32 as SemanticKITTI has them; lidarseg: raw uint8 as nuScenes."""
    classes: tuple[str, ...] | None = None
    """Own words to name points by, or one .json file, {name: [words]}; none: the student's classes."""
    background: tuple[str, ...] | None = ("own",)
    """What else a point may be, besides own words, and then gets label 0: own, the student's other classes; or
    words; none: nothing else."""
    threshold: Fraction = 0.0
    """Points named with less confidence get label 0."""
    scores: bool = False
    """Write the confidence in every class too (ply, las, npz, parquet)."""
    features: bool = False
    """Write the features in the space of the text too (npz, parquet)."""
    teacher: str | None = None
    """Weights whose text tower encodes own words: a file or a tag of open_clip; none: as in the training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto: on a GPU if there is one."""
    workers: PositiveInt = 1
    """Processes that label side by side, on all machines of the Ray cluster; 1: this one, without Ray."""
    max_bad: NonNegativeInt = 0
    """Files that may be unreadable before the job fails; each is named."""
    input: InputConfig = InputConfig()
    """How points are read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features and self.format not in ("npz", "parquet"):
            raise ConfigError("features are written with --format npz or parquet")
        if self.scores and self.format in ("label", "lidarseg"):
            raise ConfigError("scores are written with --format ply, las, npz or parquet")
        if self.classes is None and self.background != ("own",):
            raise ConfigError("background is for own words: give --classes WORD ... too")

    def check_here(self, prefix: str = "") -> None:
        if self.student is None:
            raise ConfigError("--student is missing: a trained student, such as runs/NAME/student")
        if self.data is None:
            raise ConfigError("--data is missing: a file, a folder of scans, or shards")
        self.check_places(prefix)

    def check_places(self, prefix: str) -> None:
        """ConfigError for a place that is given and not there."""
        super().check_here(prefix)


PRESETS = {"default": PredictConfig()}
