"""Errors that a user can fix. Every message says how; a programmer's mistake is an assert instead."""

_LONGEST, _END = 900, 300
"""Characters of a message, and of its end, which has the advice."""


class SceneliftError(Exception):
    """Base of all errors that a user can fix; commands print them as one line and exit with status 1."""

    def __init__(self, message: str = "") -> None:
        """A message that quotes a long value loses its middle, and odd characters of it are written as escapes."""
        message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        if len(message) > _LONGEST:
            left_out = len(message) - _LONGEST
            message = f"{message[: _LONGEST - _END]} ... ({left_out:,} characters) ... {message[-_END:]}"
        super().__init__(message)


class ConfigError(SceneliftError):
    """An unknown key, an invalid value or an invalid combination in the configuration."""


class DataError(SceneliftError):
    """A data set is missing or not as expected: wrong root, missing table, unknown class, empty split."""


class ScaleError(DataError):
    """Features of points are of another scale than those that a student was trained on."""


class FrameError(DataError):
    """One sample cannot be read; a shard job lists it in the manifest with this reason and continues."""


class ShardError(SceneliftError):
    """A folder of shards is incomplete, of another schema version, or of another class list."""


class ClusterError(SceneliftError):
    """The requested resources do not fit the machine or the cluster, or a Ray job failed."""


class StorageError(SceneliftError):
    """A path cannot be read or written, or the disk is full."""


class TrackingError(SceneliftError):
    """The MLflow server does not answer or refuses a request."""


class TeacherError(SceneliftError):
    """The teacher's model or weights are not available; says which file is needed and where to put it."""


class TrainingError(SceneliftError):
    """A training failed: a loss that is not finite, or too few frames for a step."""


def reason(error: BaseException) -> str:
    """What a library says of a file, in one line of a sensible length, without its advice to load pickles, which
    run whatever code is in them."""
    text = " ".join(str(error).split())
    if "pickle" in text or "weights_only" in text:
        return "it holds more than plain arrays"
    return text[:200] or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
