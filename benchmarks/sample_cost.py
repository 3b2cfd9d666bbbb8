"""CPU seconds of one real training sample: shard row, six images, augmentation, voxels of one sweep.

`python -m benchmarks.sample_cost [NUSCENES_ROOT]`; the figure of the issue is 0.045, and 0.45 for the loader
of CLIP2Scene's authors on the same frame. In the same process: what decoding the six photos at the size of the
data set costs, which is what shards spare.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datasets.nuscenes.source import NuScenes
from scenelift.cluster import connect as cluster
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.images import decode
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards

ROOT = Path(__file__).resolve().parents[2] / "shared" / "data" / "nuscenes"


def cpu_seconds(work: Callable[[], object], repeats: int = 30) -> float:
    """Median CPU seconds of a call, all threads of the process together."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return sorted(times)[repeats // 2]


def main(root: Path) -> None:
    """Write the shards of the real frame, read a sample over and over, print the figure."""
    source = NuScenes(root, "v1.0-mini")
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


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
