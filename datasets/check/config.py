"""Settings and presets of `datasets.check`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from datasets.common.config import SourceConfig, presets
from scenelift.config.constraints import PositiveInt
from scenelift.teachers.config import TEACHERS, TeacherConfig


@dataclass(frozen=True)
class CheckConfig(SourceConfig):
    """Reads a few frames of a data set, checks all that shards and trainings rely on, says where its cameras are,
    and draws its points on its photos. Writes no shards."""

    frames: PositiveInt = 3
    """Frames that are read, spread over the split."""
    teacher: TeacherConfig = field(default_factory=lambda: TEACHERS["clip"])
    """Whose words the classes need: --teacher tiny for the one that ships; one of your own is checked too."""
    out: Path | None = None
    """Folder of the pictures; none: data/check/DATASET."""

    @property
    def folder(self) -> Path:
        """Where the pictures go."""
        return self.out or Path("data/check") / self.label


PRESETS = presets(CheckConfig())
