"""Times the reading of nuScenes tables at the size of v1.0-trainval: 2.6 million records and as many poses.

    python benchmarks/nuscenes_tables.py [--scenes 850]

Writes tables of that size in nuScenes' own form (a pretty-printed list) to a temporary folder, reads them in
a fresh process, and prints seconds, peak memory, and the ratio to json.load of a twentieth, scaled up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

VERSION = "v1.0-trainval"
SAMPLES, LIDAR, CAMERA, RADAR = 40, 390, 231, 260
"""Records of a scene: key frames, then those of each sensor (20 s at 2, 20, 12 and 13 Hz)."""
CHANNELS = {
    "LIDAR_TOP": LIDAR,
    **{
        f"CAM_{side}": CAMERA
        for side in ("FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT", "FRONT_LEFT")
    },
    **{f"RADAR_{side}": RADAR for side in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK_LEFT", "BACK_RIGHT")},
}
Row = dict[str, Any]


def token(*numbers: int) -> str:
    """32 hexadecimal digits that only these numbers give."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 0x10001 + number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)
    return f"{mixed:032x}"


def records(scene: int) -> Iterator[Row]:
    """The sample_data rows of a scene."""
    for sensor, (channel, count) in enumerate(CHANNELS.items()):
        tokens = ["", *(token(1, scene, sensor, number) for number in range(count)), ""]
        for number in range(count):
            sample = number * SAMPLES // count
            key = number == -(-sample * count // SAMPLES)
            moment = 1532402927000000 + scene * 10**8 + number * 20 * 10**6 // count
            lidar, camera = channel == "LIDAR_TOP", channel.startswith("CAM")
            suffix = "pcd.bin" if lidar else "jpg" if camera else "pcd"
            folder = "samples" if key else "sweeps"
            yield {
                "token": tokens[number + 1],
                "sample_token": token(2, scene, sample),
                "ego_pose_token": tokens[number + 1],
                "calibrated_sensor_token": token(3, scene, sensor),
                "timestamp": moment,
                "fileformat": "jpg" if camera else "pcd",
                "is_key_frame": key,
                "height": 900 if camera else 0,
                "width": 1600 if camera else 0,
                "filename": f"{folder}/{channel}/n015-2018-07-24-11-22-45+0800__{channel}__{moment}.{suffix}",
                "prev": tokens[number],
                "next": tokens[number + 2],
            }


def poses(scene: int) -> Iterator[Row]:
    """The ego_pose rows of a scene, one for each record."""
    for sensor, count in enumerate(CHANNELS.values()):
        for number in range(count):
            yield {
                "token": token(1, scene, sensor, number),
                "timestamp": 1532402927000000 + scene * 10**8 + number * 20 * 10**6 // count,
                "rotation": [
                    -0.5720320374256816,
                    0.0016977768560202,
                    -0.0117980019632308,
                    0.8201446658133226,
                ],
                "translation": [411.3039245605469 + number / 7, 1180.890380859375 + scene / 3, 0.0],
            }


def samples(scene: int) -> Iterator[Row]:
    for number in range(SAMPLES):
        moment = 1532402927000000 + scene * 10**8 + number * 500000
        yield {
            "token": token(2, scene, number),
            "timestamp": moment,
            "prev": token(2, scene, number - 1) if number else "",
            "next": token(2, scene, number + 1) if number < SAMPLES - 1 else "",
            "scene_token": token(4, scene),
        }


def calibrations(scene: int) -> Iterator[Row]:
    pinhole = [
        [1266.417203046554, 0.0, 816.2670197447984],
        [0.0, 1266.417203046554, 491.50706579],
        [0.0, 0.0, 1.0],
    ]
    for sensor, channel in enumerate(CHANNELS):
        yield {
            "token": token(3, scene, sensor),
            "sensor_token": token(5, sensor),
            "translation": [1.7007912397384644, 0.01594563201069832, 1.5109575986862183],
            "rotation": [-0.4998015430554756, 0.5030316162514282, -0.4997798114411506, 0.497370838194892],
            "camera_intrinsic": pinhole if channel.startswith("CAM") else [],
        }


def write(path: Path, rows: Iterator[Row], indent: int | None = 0) -> None:
    """A JSON list, row by row; indent 0 is how nuScenes writes its tables, None is compact."""
    comma = ", " if indent is None else ",\n"
    with path.open("w") as file:
        file.write("[" if indent is None else "[\n")
        for number, row in enumerate(rows):
            file.write((comma if number else "") + json.dumps(row, indent=indent))
        file.write("]" if indent is None else "\n]")


def write_tree(root: Path, scenes: int, indent: int | None = 0) -> Path:
    """The tables of a tree with that many scenes; no point clouds, no images."""
    tables = root / VERSION
    tables.mkdir(parents=True)
    per_scene: dict[str, Callable[[int], Iterator[Row]]] = {
        "sample": samples,
        "sample_data": records,
        "ego_pose": poses,
        "calibrated_sensor": calibrations,
        "scene": lambda scene: iter([{"token": token(4, scene), "name": f"scene-{scene + 1:04d}"}]),
    }
    for name, rows in per_scene.items():
        write(tables / f"{name}.json", itertools.chain.from_iterable(map(rows, range(scenes))), indent)
    sensors: Iterator[Row] = (
        {"token": token(5, sensor), "channel": channel} for sensor, channel in enumerate(CHANNELS)
    )
    write(tables / "sensor.json", sensors, indent)
    write(tables / "category.json", iter([{"name": "vehicle.car", "token": "car"}]), indent)
    return root


def read(root: Path) -> None:
    """In a process of its own: read everything and print what it took."""
    from datasets.nuscenes.source import NuScenes

    before, start, busy = _peak(), time.perf_counter(), time.process_time()
    keyframes = NuScenes(root, VERSION).list_samples(None)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    sweeps = sum(len(keyframe.lidar_sweeps) for keyframe in keyframes)
    print(json.dumps([len(keyframes), sweeps, seconds, busy, before, _peak()]))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _plain_seconds(root: Path) -> tuple[float, float]:
    """Seconds and CPU seconds that json.load takes for the two large tables."""
    start, busy = time.perf_counter(), time.process_time()
    for name in ("sample_data", "ego_pose"):
        json.loads((root / VERSION / f"{name}.json").read_bytes())
    return time.perf_counter() - start, time.process_time() - busy


def compare(scenes: int, folder: Path) -> None:
    """Write both trees, read them, and print the comparison."""
    large, small, part = folder / "large", folder / "small", max(1, scenes // 20)
    write_tree(large, scenes)
    write_tree(small, part)
    size = sum(path.stat().st_size for path in (large / VERSION).iterdir()) / 2**30
    print(f"{scenes} scenes, {scenes * sum(CHANNELS.values()):,} records, {size:.2f} GiB of tables")
    command = [sys.executable, __file__, "--read", str(large)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count, sweeps, seconds, busy, before, peak = json.loads(answer)
    plain, plain_busy = (value * scenes / part for value in _plain_seconds(small))
    print(f"{count:,} keyframes with {sweeps:,} sweeps in {seconds:.1f} s ({busy:.1f} s of CPU)")
    print(f"peak memory {peak:.2f} GiB, {before:.2f} of it before reading")
    print(f"json.load of the two large tables alone: {plain:.1f} s ({plain_busy:.1f} s of CPU)")
    print(f"ratio: {plain / seconds:.1f} in time, {plain_busy / busy:.1f} in CPU")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=850, help="scenes to write (850 is v1.0-trainval)")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        read(args.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(args.scenes, Path(folder))


if __name__ == "__main__":
    main()
