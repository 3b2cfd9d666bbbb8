"""Memory of `predict` over many scans, one of which is killed half-way and goes on, and over one large LAS file.

    python -m benchmarks.predicting [--scans 1000] [--points 20000] [--las 100000000]

The clouds are made up: streets of points around a sensor, and a landscape of 100 points a square metre.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import laspy
import numpy as np
import psutil

from trainables.predict.config import SHIPPED

CHUNK = 1_000_000
DENSITY = 100.0
"""Points a square metre of the landscape."""
EVERY = 0.2
"""Seconds between two readings of the memory."""


@dataclass
class Watched:
    """A process that ran: what it took."""

    seconds: float
    megabytes: list[float]
    """Resident memory, every `EVERY` seconds."""
    status: int

    @property
    def row(self) -> str:
        """Seconds, memory after a fifth of the time, the most, and at the end."""
        early = self.megabytes[len(self.megabytes) // 5]
        late = np.mean(self.megabytes[-10:])
        return f"{self.seconds:.0f} | {early:.0f} | {max(self.megabytes):.0f} | {late:.0f}"


def _own_memory(process: psutil.Process) -> float:
    """MB without pages of files, which the system takes back when it needs them."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return float(process.memory_info().rss) / 1e6
    found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
    return int(found[1]) / 1e3 if found else 0.0


def predict(data: Path, out: Path, form: str, stop: int | None = None) -> Watched:
    """Run the command; stop: kill it once so many files are there."""
    command = [sys.executable, "-m", "trainables.predict", "--student", SHIPPED, "--device", "cpu"]
    command += ["--data", str(data), "--out", str(out), "--format", form, "--input.scale", "255"]
    began, memory = time.monotonic(), []
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            memory.append(_own_memory(process))
        except psutil.NoSuchProcess:
            break
        if stop is not None and sum(1 for _ in out.rglob("*.label")) >= stop:
            process.send_signal(signal.SIGKILL)
        time.sleep(EVERY)
    return Watched(time.monotonic() - began, memory, process.wait())


def write_scans(folder: Path, count: int, points: int) -> None:
    """Files of float32 rows, as KITTI has them, of which one in ten has half the points."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        n = points if number % 10 else points // 2
        angle, radius = rng.uniform(0, 2 * np.pi, n), 4 + 40 * rng.random(n) ** 2
        ground = np.where(rng.random(n) < 0.7, -1.8, rng.uniform(-1.8, 4, n))
        rows = np.stack([radius * np.cos(angle), radius * np.sin(angle), ground, rng.random(n)], 1)
        rows.astype("<f4").tofile(folder / f"{number:06d}.bin")


def write_las(path: Path, count: int) -> None:
    """A landscape in the coordinates of a map, in no order of place."""
    rng, side = np.random.default_rng(0), float(np.sqrt(count / DENSITY))
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([500_000.0, 5_400_000, 0])
    with laspy.open(path, "w", header=header) as writer:
        for start in range(0, count, CHUNK):
            n = min(CHUNK, count - start)
            x, y = rng.uniform(0, side, (2, n))
            height = np.sin(x / 30) * np.cos(y / 40) * 3 + np.where(
                rng.random(n) < 0.2, rng.uniform(0, 8, n), 0
            )
            record = laspy.ScaleAwarePointRecord.zeros(n, header=header)
            record.x, record.y, record.z = x + header.offsets[0], y + header.offsets[1], height
            record["intensity"] = rng.integers(0, 2, n)
            writer.write_points(record)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--las", type=int, default=100_000_000)
    options = parser.parse_args()
    print(
        "| what | seconds | MB after a fifth | MB at most | MB at the end |\n|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="scenelift-") as name:
        place = Path(name)
        if options.scans:
            write_scans(place / "scans", options.scans, options.points)
            killed = predict(place / "scans", place / "killed", "label", options.scans // 2)
            assert killed.status == -signal.SIGKILL, killed.status
            rest = predict(place / "scans", place / "killed", "label")
            whole = predict(place / "scans", place / "whole", "label")
            assert rest.status == whole.status == 0
            print(f"| {options.scans:,} scans of {options.points:,} points | {whole.row} |", flush=True)
            files = [sorted((place / run).rglob("*.label")) for run in ("whole", "killed")]
            same = sum(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
            print(
                f"killed at {options.scans // 2} and gone on with: {same:,} of {len(files[0]):,} files equal",
                flush=True,
            )
        if options.las:
            write_las(place / "land.las", options.las)
            size = (place / "land.las").stat().st_size / 1e9
            done = predict(place / "land.las", place / "land", "las")
            assert done.status == 0, done.status
            with laspy.open(place / "land" / "land.las") as reader:
                assert reader.header.point_count == options.las
            print(f"| a LAS of {options.las:,} points, {size:.1f} GB | {done.row} |")


if __name__ == "__main__":
    main()
