"""A data set -> a folder of shards: `python -m datasets.shard nuscenes --root ROOT --out DIR`."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from datasets.common.following import after_frames
from datasets.common.sharding import report, write
from datasets.shard.config import ShardConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, FrameSet
from scenelift.samples.kind import Manifest
from scenelift.shards.read import Shards


def run(config: ShardConfig) -> Manifest:
    """Write the shards and print their contents."""
    source = config.open()
    start = time.monotonic()
    options = ReadOptions(config.lidar_sweeps, config.image_size, config.superpixels)
    manifest = write(config, source, options, FRAME, "datasets.shard")
    about = FrameSet.of(manifest)
    rows = {
        "version": manifest.dataset_version,
        "frames": f"{manifest.samples:,}",
        "bad frames": f"{len(manifest.bad):,}",
        "points": f"{about.points:,}",
        "pairs": _counts(about.pairs) or "none, as there are no images",
        "labels": "none" if about.labels is None else _counts(about.labels),
        "time": f"{time.monotonic() - start:.1f} s",
    }
    print(report(manifest, rows))
    features = Shards.open(config.folder).read(0).features
    print(after_frames(manifest, config.folder, float(np.abs(features).max(initial=0))))
    return manifest


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
