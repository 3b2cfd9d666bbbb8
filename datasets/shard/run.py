"""A data set -> a folder of shards: `python -m datasets.shard nuscenes --root ROOT --out DIR`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping

from datasets.shard.config import ShardConfig
from datasets.shard.sources import open_source
from scenelift.io.storage import megabytes
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FrameSet
from scenelift.samples.kind import Manifest


def run(config: ShardConfig) -> Manifest:
    """Write the shards and print what they hold."""
    from scenelift.cluster.connect import connect
    from scenelift.shards.write import write_shards

    assert config.root is not None, "check_here"
    source = open_source(config.dataset, config.root.expanduser().absolute(), config.version)
    start = time.monotonic()
    with connect():
        manifest = write_shards(
            source,
            config.split,
            config.folder,
            ReadOptions(config.lidar_sweeps, config.image_size, config.superpixels),
            per_shard=config.per_shard,
            max_bad=config.max_bad,
            command=shlex.join(["python", "-m", "datasets.shard", *sys.argv[1:]]),
        )
    print(report(manifest, time.monotonic() - start))
    print(f"next: python -m trainables.distill --data.train {shlex.quote(config.folder)}")
    return manifest


def report(manifest: Manifest, seconds: float) -> str:
    """A short table of what a folder of shards holds."""
    about = FrameSet.of(manifest)
    rows = {
        "data set": f"{manifest.dataset} {manifest.dataset_version} {manifest.split}",
        "frames": f"{manifest.samples:,}",
        "bad frames": f"{len(manifest.bad):,}",
        "points": f"{about.points:,}",
        "pairs": _counts(about.pairs) or "none, as there are no images",
        "labels": "none" if about.labels is None else _counts(about.labels),
        "size": f"{megabytes(manifest.bytes)} in {len(manifest.shards)} shards",
        "time": f"{seconds:.1f} s",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in rows.items())


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
