"""Labels as nuScenes' lidarseg benchmark wants them: lidarseg/SPLIT/TOKEN_lidarseg.bin, uint8 of classes 1..16,
where the token is of the LiDAR's record, and SPLIT/submission.json, which says what the method used.

Source: the challenge's rules and what the devkit's validation of a submission checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets.nuscenes.classes import FULL
from datasets.nuscenes.keyframes import Keyframe
from datasets.nuscenes.source import POINT_FLOATS
from datasets.nuscenes.tables import read_keyed
from scenelift.errors import DataError

META = {
    "use_camera": False,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": True,
}
"""What a student sees when it labels is LiDAR alone; its teacher was trained on data of others."""
SUFFIX = "_lidarseg.bin"
_RECORD = pa.schema(
    [pa.field("token", pa.string(), nullable=False), pa.field("filename", pa.string(), nullable=False)]
)


def lidar_tokens(tables: Path, keyframes: Iterable[Keyframe]) -> dict[str, str]:
    """Token of a sample -> token of its LiDAR's record, by which the benchmark names files."""
    files = {keyframe.points: keyframe.token for keyframe in keyframes}
    names = pa.array(list(files), pa.string())
    rows = read_keyed(tables / "sample_data.json", _RECORD, lambda piece: pc.is_in(piece["filename"], names))
    pairs = zip(rows["filename"].to_pylist(), rows["token"].to_pylist(), strict=True)
    return {files[name]: token for name, token in pairs}


def point_counts(root: Path, keyframes: Iterable[Keyframe], tokens: Mapping[str, str]) -> dict[str, int]:
    """Token of a LiDAR record -> its number of points, by the size of its file."""
    return {
        tokens[each.token]: (root / each.points).stat().st_size // (4 * POINT_FLOATS) for each in keyframes
    }


def finish(folder: Path, split: str) -> None:
    """Write submission.json beside the labels of a split."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / split / "submission.json").write_text(json.dumps({"meta": META}, indent=1))


def check(folder: Path, split: str, points: dict[str, int] | None = None) -> int:
    """Number of files of a submission that follow the rules; DataError for the first that does not. points: token
    of a LiDAR record -> its number of points, for all that must be there; None: they are not at hand."""
    meta = json.loads((folder / split / "submission.json").read_text())["meta"]
    if meta.keys() != META.keys() or not all(isinstance(value, bool) for value in meta.values()):
        raise DataError(f"{folder / split}/submission.json must say of each sensor whether it was used")
    files = {
        file.name.removesuffix(SUFFIX): file for file in (folder / "lidarseg" / split).glob(f"*{SUFFIX}")
    }
    if missing := sorted((points or {}).keys() - files.keys()):
        raise DataError(f"{folder} lacks the labels of {len(missing)} scans, such as {missing[0]}{SUFFIX}")
    for token, file in files.items():
        labels = np.fromfile(file, np.uint8)
        if len(labels) and not 1 <= labels.min() <= labels.max() <= len(FULL.classes):
            raise DataError(f"{file} has labels that are not 1..{len(FULL.classes)}")
        if points is not None and points.get(token) != len(labels):
            raise DataError(f"{file} has {len(labels)} labels for {points.get(token, 0)} points")
    return len(files)
