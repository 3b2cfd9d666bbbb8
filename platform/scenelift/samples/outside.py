"""A data set of frames from outside of the repository: any class of `scenelift.samples.frame.Source`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from scenelift.config import outside
from scenelift.errors import ConfigError, SceneliftError, reason
from scenelift.samples.vocabulary import Vocabulary

if TYPE_CHECKING:
    from scenelift.samples.frame import Source

GROUP: outside.Group = "scenelift.sources"
_METHODS = ("list_samples", "read")


def open_source(name: str, root: Path, version: str) -> Source:
    """The data set at `root`, read by the class of a name (`scenelift.config.outside`), which is called with root
    and version. ConfigError, in one line, for a class that cannot be imported or is no source."""
    make = outside.load(name, GROUP, "source", _METHODS)
    try:
        source = make(root, version)
    except SceneliftError:
        raise
    except Exception as error:  # whatever the code of a user raises
        raise ConfigError(
            f"--source {name}, called with the root and the version, raises {type(error).__name__}: {reason(error)}"
        ) from error
    missing = [each for each in ("name", "version", "vocabulary", *_METHODS) if not hasattr(source, each)]
    if missing:
        raise ConfigError(
            f"--source {name} has no {', '.join(missing)}; docs/your_own_data.md shows a whole one"
        )
    if not isinstance(source.vocabulary, Vocabulary):
        raise ConfigError(
            f"--source {name}: its vocabulary is a {type(source.vocabulary).__name__}, not a "
            "scenelift.samples.vocabulary.Vocabulary"
        )
    return cast("Source", source)
