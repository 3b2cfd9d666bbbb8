"""Frames that travel to a machine without pyarrow, and the batches that the real `Collate` makes of them.

`python -m benchmarks.gpu.frames OUT [NUSCENES]` writes the first frames of the synthetic world, behind a keyframe
of a real nuScenes where its folder is named. Real data may not be redistributed: never commit that file.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenelift.errors import DataError
from scenelift.points.collate import Collate, PointBatch
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.samples.frame import FRAME, Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.sparse.sites import Sites, Voxels

SYNTHETIC_FRAMES = 4
REAL_SIZE = (224, 416)
"""(height, width) of the photos of the real keyframe, pixels: the `nuscenes` preset's."""


@dataclass(frozen=True)
class Frames:
    """The frames of a file, synthetic ones last."""

    frames: tuple[Frame, ...]
    vocabularies: tuple[Vocabulary, ...]

    @property
    def real(self) -> bool:
        """Whether the first is a real keyframe."""
        return len(self.frames) > SYNTHETIC_FRAMES

    def synthetic(self, count: int) -> list[Frame]:
        """The last frames."""
        return list(self.frames[-count:])

    def large(self, count: int, sweeps: int = 0) -> list[Frame]:
        """Copies of the first frame; their earlier sweeps are the keyframe, shaken by 5 cm."""
        return [_copy(self.frames[0], number, sweeps) for number in range(count)]

    def clouds(self, count: int) -> Voxels:
        """A batch of `count` keyframe clouds at 0.1 m, on the CPU."""
        collate = Collate(VoxelConfig(0.1, feature_scale=1 / 255), Augmentation(), images=False)
        return collate(self.large(count), 0).voxels


def _copy(frame: Frame, number: int, sweeps: int) -> Frame:
    keyframe = frame.sweep == 0
    rng, rows = np.random.default_rng(number), np.flatnonzero(keyframe)
    shaken = [
        frame.points[rows] + rng.normal(0, 0.05, (len(rows), 3)).astype(np.float32) for _ in range(sweeps)
    ]
    pairs = np.isin(frame.pair_points, rows)
    place = np.cumsum(keyframe) - 1
    first = place[frame.pair_points[pairs]]
    return dataclasses.replace(
        frame,
        token=f"{frame.token}-{number}",
        points=np.concatenate([frame.points[rows], *shaken]),
        features=np.concatenate([frame.features[rows]] * (1 + sweeps)),
        sweep=np.repeat(np.arange(1 + sweeps, dtype=np.uint8), len(rows)),
        labels=None if frame.labels is None else np.concatenate([frame.labels[rows]] * (1 + sweeps)),
        pair_points=np.concatenate([first + k * len(rows) for k in range(1 + sweeps)]).astype(np.int32),
        pair_pixels=np.concatenate([frame.pair_pixels[pairs]] * (1 + sweeps)),
    )


def move(voxels: Voxels, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Voxels:
    """Voxels on a device, without the tables that were made of them."""
    sites = voxels.sites
    return Voxels(
        voxels.features.to(device, dtype), Sites(sites.coords.to(device), sites.shape, sites.batch_size)
    )


def megabytes(batch: PointBatch) -> float:
    """Size of a batch's tensors beside its voxels."""
    tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    return round(sum(t.numel() * t.element_size() for t in tensors) / 1e6, 1)


def save(path: Path, frames: Sequence[Frame], vocabularies: Sequence[Vocabulary]) -> None:
    """Write frames as one npz: a JSON description, and every encoded column as bytes."""
    arrays, rows = {}, []
    for number, frame in enumerate(frames):
        row: dict[str, Any] = {}
        for name, value in FRAME.to_row(frame).items():
            parts = value if isinstance(value, list) else [value]
            if parts and isinstance(parts[0], bytes):
                row[name] = len(parts) if isinstance(value, list) else None
                for part, data in enumerate(parts):
                    arrays[f"{number}/{name}/{part}"] = np.frombuffer(data, np.uint8)
            else:
                row[name] = {"value": value}
        rows.append(row)
    about = {"rows": rows, "vocabularies": [dataclasses.asdict(each) for each in vocabularies]}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for `allow_pickle`


def load(path: Path) -> Frames:
    """The frames of a file; DataError if there is none."""
    if not path.exists():
        raise DataError(f"no file {path}; make it with: python -m benchmarks.gpu.frames {path}")
    with np.load(path) as held:
        about = json.loads(held["about"].tobytes())
        frames = [_frame(number, row, held) for number, row in enumerate(about["rows"])]
    return Frames(tuple(frames), tuple(_vocabulary(each) for each in about["vocabularies"]))


def _frame(number: int, row: dict[str, Any], held: Any) -> Frame:
    values = {}
    for name, entry in row.items():
        if isinstance(entry, dict):
            values[name] = entry["value"]
        elif entry is None:
            values[name] = held[f"{number}/{name}/0"].tobytes()
        else:
            values[name] = [held[f"{number}/{name}/{part}"].tobytes() for part in range(entry)]
    return FRAME.from_row(values)


def _vocabulary(values: dict[str, Any]) -> Vocabulary:
    words = tuple(tuple(group) for group in values["words"])
    colors = tuple((r, g, b) for r, g, b in values["colors"])
    return Vocabulary(values["name"], tuple(values["classes"]), words, colors)


def main(path: str, nuscenes: str | None = None) -> None:
    """Gather and write the frames."""
    from datasets.nuscenes.source import NuScenes
    from datasets.synthetic.shards import synthetic_shards
    from scenelift.samples.config import ReadOptions
    from scenelift.shards.read import Shards

    frames, vocabularies = [], []
    if nuscenes:
        source = NuScenes(Path(nuscenes), "v1.0-mini")
        frames.append(source.read(source.list_samples()[0], ReadOptions(0, REAL_SIZE, 0)))
        vocabularies.append(source.vocabulary)
    shards = Shards.open(synthetic_shards("train"))
    frames += shards.read_many(range(SYNTHETIC_FRAMES))
    vocabularies += [shards.vocabulary] * SYNTHETIC_FRAMES
    save(Path(path), frames, vocabularies)


if __name__ == "__main__":
    main(*sys.argv[1:])
