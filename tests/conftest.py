"""Fixtures that several test files share."""

import fcntl
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: each worker has a core, and no more
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest

import scenelift  # noqa: F401  sets what libgomp reads when torch is loaded

REAL_DATA = "SCENELIFT_REAL_DATA"
"""Environment variable: folder of real frames, each in its data set's own layout below its name."""


def pytest_configure() -> None:
    """Importing all modules is two fifths faster when nothing searches them for garbage."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses `ray_session`, be it through other fixtures, starts Ray."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Else libraries would report what they hold at the end as leaked."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: making its tables takes seconds, so that parallel workers share one."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = folder / "mlflow.db"
    with open(folder / "mlflow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            from mlflow import MlflowClient

            from scenelift.tracking import store

            store.quiet()
            MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracked(mlflow_tables: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Makes a folder of runs that are recorded in the folder itself, and returns it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def folder(runs: Path) -> Path:
        runs.mkdir(parents=True, exist_ok=True)
        shutil.copy(mlflow_tables, runs / "mlflow.db")
        return runs

    return folder


def _real(name: str = "") -> Path:
    """A folder of real frames; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get(REAL_DATA, beside)) / name
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}; {REAL_DATA} names the folder that holds nuscenes (README)")
    return folder


@pytest.fixture
def real_nuscenes() -> Path:
    """Root of one real key frame in nuScenes' layout (v1.0-mini); only ever read."""
    return _real("nuscenes")


@pytest.fixture
def real_data() -> Path:
    """Folder of real frames of several data sets, each in its own layout; only ever read."""
    return _real()


@pytest.fixture(scope="session")
def outside_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of the repository whose modules the tests' Ray can import."""
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="session")
def ray_session(outside_folder: Path) -> Iterator[None]:
    """One small Ray for all tests that need one; its workers can import what the tests define."""
    from scenelift.cluster.connect import connect

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parents[1], outside_folder)))
    with connect():
        yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def tiny_world(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards of the smallest synthetic world: (train, val)."""
    from benchmarks.submitted import write_world

    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder / "train", folder / "val"
