"""Where a trained student may lie: its folder, its run, a bucket, MLflow's registry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenelift.errors import ConfigError, StorageError, TrackingError, first_line
from scenelift.io import storage
from scenelift.io.storage import Location
from scenelift.nn.student import Student

_REGISTRY = ("models:/", "runs:/", "mlflow-artifacts:/")
_DESCRIPTION = f"{Student.FILE}.json"


@contextmanager
def fetched_student(place: Location) -> Iterator[Location]:
    """The folder of the student at a place, as long as the `with` block runs. SceneliftError if there is none."""
    text = str(place)
    if text.startswith(_REGISTRY):
        with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
            yield _from_mlflow(text, Path(folder))
        return
    yield _folder(text)


def _folder(place: str) -> str:
    """The student's own folder: given itself, or the run that has it, or one of its files."""
    filesystem, path = storage.resolve(place)
    if not storage.exists(filesystem, path):
        raise ConfigError(f"there is no {place}; give a folder runs/NAME/student, or that of a run")
    if path.endswith((f"/{_DESCRIPTION}", f"/{Student.FILE}.safetensors")):
        return storage.split(place)[0]
    inner = storage.join(place, "student")
    names = storage.list_files(filesystem, path)
    if _DESCRIPTION in names:
        return place
    if _DESCRIPTION in storage.list_files(filesystem, storage.resolve(inner)[1]):
        return inner
    if "config.yaml" in names:
        raise ConfigError(
            f"the run in {place} has no student yet; go on with it, or give {place}/checkpoints/step-N"
        )
    return place  # what is wrong with it, loading tells


def _from_mlflow(uri: str, folder: Path) -> Path:
    try:
        from mlflow.artifacts import download_artifacts
    except ImportError:
        raise ConfigError(
            f"{uri} wants MLflow, which is not installed; run: pip install mlflow-skinny"
        ) from None
    try:
        local = Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except Exception as error:  # MLflow's own, of its database, or of a bucket
        raise TrackingError(
            f"{uri} cannot be fetched ({first_line(error)}); check the name and MLFLOW_TRACKING_URI"
        ) from None
    found = sorted(local.rglob(_DESCRIPTION))
    if not found:
        raise StorageError(f"{uri} is not a student of Scenelift: it has no {_DESCRIPTION}")
    return found[0].parent
