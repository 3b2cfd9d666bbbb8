"""CPU seconds of one real training sample: shard row, six images, augmentation, voxels of one sweep.

`python -m benchmarks.sample_cost [NUSCENES_ROOT [VERSION]]`, on the first frame of a nuScenes tree, such as the
mini split; without an argument on SCENELIFT_REAL_DATA/nuscenes, and where that is missing nothing is measured. The
bound is 0.045; the loader of CLIP2Scene's authors takes 0.45 on the same frame. In the same process: what decoding
the six photos at the size of the data set costs, which is what shards spare.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datasets.nuscenes.keyframes import Keyframe
from datasets.nuscenes.source import NuScenes
from scenelift.cluster import connect as cluster
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.samples.images import decode
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards

REAL_DATA = "SCENELIFT_REAL_DATA"
"""Environment variable: folder of real frames, each in its data set's own layout below its name."""


class FirstFrame:
    """A source, reduced to its first frame."""

    def __init__(self, source: NuScenes) -> None:
        self.source = source
        self.name, self.version, self.vocabulary = source.name, source.version, source.vocabulary

    def list_samples(self, split: str | None) -> list[Keyframe]:
        return self.source.list_samples(split)[:1]

    def read(self, keyframe: Keyframe, options: ReadOptions) -> Frame:
        return self.source.read(keyframe, options)


def cpu_seconds(work: Callable[[], object], repeats: int = 30) -> float:
    """Median CPU seconds of a call, all threads of the process together."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return sorted(times)[repeats // 2]


def main(root: Path, version: str) -> None:
    """Write the shards of a real frame, read a sample over and over, print the figure."""
    source = FirstFrame(NuScenes(root, version))
    with tempfile.TemporaryDirectory() as folder, cluster.connect():
        write_shards(source, None, folder, ReadOptions(image_size=(224, 416)), progress=False)
        shards = Shards.open(folder)
        collate = Collate(VoxelConfig(0.1), Augmentation())
        sample = cpu_seconds(lambda: collate(shards.read_many([0])))
        frame = shards.read(0)
        parts = {
            "read the row": cpu_seconds(lambda: shards.read_many([0])),
            "decode six images": cpu_seconds(lambda: [decode(image) for image in frame.images]),
            "augment and voxelise": cpu_seconds(
                lambda: Collate(VoxelConfig(0.1), Augmentation(), images=False)([frame])
            ),
        }
    photos = [path.read_bytes() for path in sorted(root.glob("samples/CAM_*/*.jpg"))[:6]]
    full = cpu_seconds(lambda: [decode(photo) for photo in photos], repeats=5)
    print(f"one training sample: {sample * 1000:.1f} ms of CPU (bound 45 ms), {len(frame.points)} points")
    for name, seconds in parts.items():
        print(f"  {name}: {seconds * 1000:.1f} ms")
    print(
        f"decoding the six 1600x900 photos alone: {full * 1000:.1f} ms, {full / sample:.1f} x a whole sample"
    )


def told() -> None:
    """Measure what the command line or the environment names; say what is missing otherwise."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ.get(REAL_DATA, beside)) / "nuscenes"
    version = sys.argv[2] if len(sys.argv) > 2 else "v1.0-mini"
    if not (root / version).is_dir():
        print(
            f"left out: one training sample of a real frame; there is no {root / version}. It takes nuScenes' mini "
            "split: python -m benchmarks.sample_cost NUSCENES_ROOT v1.0-mini"
        )
        return
    main(root, version)


if __name__ == "__main__":
    told()
