"""Fixtures that several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import scenelift  # noqa: F401  sets what libgomp reads when torch is loaded

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def real_nuscenes() -> Path:
    """Root of one real key frame in nuScenes' layout (v1.0-mini); only ever read."""
    root = _SHARED / "nuscenes"
    if not root.is_dir():
        pytest.skip("the real nuScenes frame is not here: no ../shared/data/nuscenes beside the repository")
    return root


@pytest.fixture
def real_data() -> Path:
    """Folder of real frames of several data sets, each in its own layout; only ever read."""
    if not _SHARED.is_dir():
        pytest.skip("the real frames are not here: no ../shared/data beside the repository")
    return _SHARED


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One small Ray for all tests that need one; its workers can import what the tests define."""
    from scenelift.cluster.connect import connect

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
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
