"""Settings and presets of `trainables.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from scenelift.config.constraints import Settings
from scenelift.errors import ConfigError
from scenelift.evaluation.config import Absent
from scenelift.runs.config import Resumable, RunConfig, ShardFolder, StudentFolder
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import ScaleConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER
from trainables.common.own import OWN, fitted
from trainables.common.presets import Suited, require_suited


@dataclass(frozen=True)
class EvaluationData(Settings):
    """What is scored on."""

    test: ShardFolder | None = None
    """Folder of labeled shards; none: the test split of the synthetic world."""
    absent_classes: Absent = "leave out"
    """Classes neither true nor predicted: left out of the mean, or counted as one as the paper's code did."""


@dataclass(frozen=True)
class EvaluateConfig(Resumable):
    """Scores of a student and of a teacher, on every point of every frame.

    Those of a student that has learnt from labels are called labeled, all others label-free.
    """

    student: StudentFolder | None = None
    """Folder of a student: runs/NAME/student, or any checkpoint folder; none: the teacher alone."""
    data: EvaluationData = EvaluationData()
    """What is scored on."""
    with_teacher: bool = True
    """Score the teacher's projected labels too."""
    teacher: TeacherConfig = TINY_TEACHER
    """The 2D vision-language model."""
    against: StudentFolder | None = None
    """Folder of a second student of the same classes, scored on the same frames; pictures show both students'
    errors."""
    scale: ScaleConfig = ScaleConfig()
    """Processes that score."""
    tracking: TrackingConfig = TrackingConfig(experiment="evaluate")
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.against is not None and self.student is None:
            raise ConfigError(
                "--against is a second student: give the first one too, --student runs/NAME/student"
            )
        if self.student is None and not self.with_teacher:
            raise ConfigError(
                "nothing to score: give --student runs/NAME/student, or leave with_teacher true"
            )

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """The preset `own` with what its shards say."""
        going = super().continued(values, chosen)
        return fitted(going, values, chosen, ("teacher",), "data.test") if going is self else going

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        if self.with_teacher:  # nothing else is decided by a preset
            require_suited("frame", (self.data.test,), SUITED, preset, program, options, lambda folder: [])


PRESETS = {
    "synthetic": EvaluateConfig(scale=ScaleConfig(workers=2)),
    "nuscenes": EvaluateConfig(teacher=CLIP_TEACHER),
    "semantickitti": EvaluateConfig(teacher=replace(CLIP_TEACHER, image_size=(160, 528))),
    "scannet": EvaluateConfig(teacher=CLIP_TEACHER),
    OWN: EvaluateConfig(teacher=CLIP_TEACHER),
}
"""The others than `synthetic` have CLIP for their teacher, at about the aspect of the data set's photos."""

SUITED: Suited = {name: (name,) for name in ("nuscenes", "semantickitti", "scannet")}
