"""Labels as SemanticKITTI's benchmark wants them: sequences/NN/predictions/NNNNNN.label, uint32 of the raw labels.

Source: the data set's own interface, which counts the files, compares sizes with the scans, and takes the labels of
the data set, not the 19 classes.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from datasets.semantickitti.classes import CLASSES
from scenelift.errors import ConfigError, DataError

RAW = np.array([0, *(entry.raw[0] for entry in CLASSES.values())], np.uint32)
"""[20] class 0 (nothing said), 1..19 -> the raw label of things that stand still."""
FOLDER = "sequences"
_SCAN = re.compile(r"(?:^|.*/)(\d\d)(?:-|/velodyne/)(\d{6})")
_POINT_BYTES, _LABEL_BYTES = 16, 4


def place(name: str) -> str:
    """Name of a scan, such as 08-000123 or sequences/08/velodyne/000123 -> where its labels lie, without ending."""
    found = _SCAN.fullmatch(name)
    if found is None:
        raise ConfigError(
            f"{name} is not a scan of SemanticKITTI; give --dataset semantickitti --root ROOT, or the folder that "
            "has sequences"
        )
    return f"{FOLDER}/{found[1]}/predictions/{found[2]}"


def check(folder: Path, root: Path | None = None) -> int:
    """Number of files of a submission that follow the rules; DataError for the first that does not. root: of the
    data set, to compare with the scans; None: they are not at hand."""
    files = sorted((folder / FOLDER).glob("*/predictions/*.label"))
    if not files:
        raise DataError(f"{folder} has no {FOLDER}/NN/predictions/NNNNNN.label")
    for scans in (root / FOLDER).glob("*/velodyne") if root is not None else ():
        labeled = {file.stem for file in files if file.parts[-3] == scans.parent.name}
        if labeled and (missing := sorted({scan.stem for scan in scans.glob("*.bin")} - labeled)):
            raise DataError(
                f"{folder} lacks the labels of {len(missing)} scans of {scans}, such as {missing[0]}"
            )
    for file in files:
        labels = np.fromfile(file, np.uint32)
        if file.stat().st_size % _LABEL_BYTES or not np.isin(labels, RAW).all():
            raise DataError(f"{file} has other values than SemanticKITTI's labels as uint32")
        if root is not None:
            scan = root / FOLDER / file.parts[-3] / "velodyne" / f"{file.stem}.bin"
            points = scan.stat().st_size // _POINT_BYTES if scan.exists() else -1
            if points != len(labels):
                raise DataError(f"{file} has {len(labels)} labels for {max(points, 0)} points of {scan}")
    return len(files)
