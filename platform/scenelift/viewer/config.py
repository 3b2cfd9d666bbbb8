"""Settings of the viewer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from scenelift.config.constraints import Exists, NonNegativeInt, Settings
from scenelift.errors import ConfigError
from scenelift.inference.config import InputConfig, StudentPlace
from scenelift.teachers.config import TeacherConfig

_GIVE = (
    "give a folder of shards, a run (runs/NAME), or a cloud or a folder of clouds (.bin, .npy, .ply, .las)"
)
Place = Annotated[str, Exists(_GIVE)]
"""A folder, a file or a URI."""


@dataclass(frozen=True)
class ServerConfig(Settings):
    """Where the page is served."""

    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1: this machine alone; 0.0.0.0: everyone in the network, without a password."""
    port: Annotated[int, Ge(1), Le(65535)] = 8080
    """Port to listen on."""


@dataclass(frozen=True)
class ExploreConfig(Settings):
    """Looks at clouds and photos in the browser: shards, what a run was scored on, or plain files of clouds.

    Needs neither labels nor a student. With a student, points are colored by what it says and by words that are
    typed; with a second one, both are shown side by side. A run brings its student and its shards.
    """

    data: Place | None = None
    """Folder of shards, a run's folder, a cloud (.bin, .npy, .npz, .ply, .pcd, .las, .laz, .e57), or a folder of
    clouds; none: what the student's run was scored on."""
    student: StudentPlace | None = None
    """A trained student: its folder or URI, or that of its run; none: that of the run, if data is one."""
    against: StudentPlace | None = None
    """A second student, shown beside the first."""
    with_teacher: bool = True
    """Show the labels and the scores of a teacher, where there are photos."""
    teacher: TeacherConfig = TeacherConfig(weights="trainables/weights/tiny_clip.safetensors")
    """The 2D vision-language model; left as it is, the one that the student learned from, if it says so."""
    start: NonNegativeInt = 0
    """Number of the sample that is shown first."""
    export: Path | None = None
    """Write that sample into an HTML file that opens without a server, and serve nothing; none: serve."""
    kept: str = "runs/explored"
    """Folder in which scores of samples are kept, so that they are computed once."""
    input: InputConfig = InputConfig()
    """How plain files are read; shards know it themselves."""
    server: ServerConfig = ServerConfig()
    """Where the page is served."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.against is not None and self.student is None and self.data is None:
            raise ConfigError(
                "--against is a second student: give the first one too, --student runs/NAME/student"
            )


PRESETS = {"clouds": ExploreConfig()}
"""Of the library alone, which has no data of its own."""
