"""What a user can do wrong. Every message says what to do instead; a programmer's mistake is an assert."""


class SceneliftError(Exception):
    """Base of all errors that a user can mend; commands print them as one line and exit with status 1."""


class ConfigError(SceneliftError):
    """An unknown key, an impossible value or an impossible combination in the configuration."""


class DataError(SceneliftError):
    """A data set is not where or what it should be: wrong root, missing table, unknown class, empty split."""


class FrameError(DataError):
    """One frame cannot be read; a shard job lists it in the manifest with this reason and goes on."""


class ShardError(SceneliftError):
    """A folder of shards is incomplete, of another schema version, or of another class list."""


class ClusterError(SceneliftError):
    """What was asked for does not fit the machine or the cluster, or a Ray job failed."""


class StorageError(SceneliftError):
    """A path cannot be read or written, or the disk is full."""


class TrackingError(SceneliftError):
    """The MLflow server does not answer or refuses."""


class TeacherError(SceneliftError):
    """The teacher's model or weights cannot be had; says which file is wanted and where to put it."""


class TrainingError(SceneliftError):
    """A training stopped: a loss that is not finite, or too few frames for a step."""
