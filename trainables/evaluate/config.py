"""Settings and presets of `trainables.evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scenelift.config.constraints import Settings
from scenelift.errors import ConfigError
from scenelift.evaluation.config import Absent
from scenelift.runs.config import Resumable, RunConfig, ShardFolder, StudentFolder
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import ScaleConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER
from trainables.common.presets import Suited, own_frames, require_suited


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

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        if self.with_teacher:  # nothing else is decided by a preset
            require_suited("frame", (self.data.test,), SUITED, preset, program, options, _own_frames)


PRESETS = {
    "synthetic": EvaluateConfig(scale=ScaleConfig(workers=2)),
    "nuscenes": EvaluateConfig(teacher=CLIP_TEACHER),
    "semantickitti": EvaluateConfig(teacher=replace(CLIP_TEACHER, image_size=(160, 528))),
    "scannet": EvaluateConfig(teacher=CLIP_TEACHER),
}
"""The others than `synthetic` have CLIP for their teacher, at about the aspect of the data set's photos."""

SUITED: Suited = {name: (name,) for name in ("nuscenes", "semantickitti", "scannet")}


def _own_frames(folder: str, made: bool) -> list[str]:
    """Of the options of a training, what an evaluation has too."""
    options = own_frames(folder, made)
    place = options.index("--teacher.image_size") if "--teacher.image_size" in options else len(options)
    return options[place : place + 3]
