"""Settings and presets of `trainables.evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from scenelift.errors import ConfigError
from scenelift.evaluation.config import Absent
from scenelift.runs.config import Resumable, RunConfig, ShardFolder, StudentFolder
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import ScaleConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER


@dataclass(frozen=True)
class EvaluateConfig(Resumable):
    """Scores of a student and of a teacher, on every point of every frame.

    Those of a student that has learnt from labels are called labeled, all others label-free.
    """

    student: StudentFolder | None = None
    """Folder of a student: runs/NAME/student, or any checkpoint folder; none: the teacher alone."""
    data: ShardFolder | None = None
    """Folder of labeled shards; none: the test split of the synthetic world."""
    with_teacher: bool = True
    """Score the teacher's projected labels too."""
    teacher: TeacherConfig = TINY_TEACHER
    """The 2D vision-language model."""
    absent_classes: Absent = "leave out"
    """Classes neither true nor predicted: left out of the mean, or counted as one as the paper's code did."""
    scale: ScaleConfig = ScaleConfig()
    """Processes that score."""
    tracking: TrackingConfig = TrackingConfig(experiment="evaluate")
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student is None and not self.with_teacher:
            raise ConfigError("nothing to score: give student a folder or leave with_teacher on")


PRESETS = {
    "synthetic": EvaluateConfig(scale=ScaleConfig(workers=2)),
    "nuscenes": EvaluateConfig(teacher=CLIP_TEACHER),
}
