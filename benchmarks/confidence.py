"""How often a label is right, by its confidence: the student that ships, on the synthetic world's test frames.

python -m benchmarks.confidence [--student FOLDER] [--data SHARDS]
"""

from __future__ import annotations

import argparse

import numpy as np

from scenelift.inference.labeler import load
from scenelift.io.console import Meter
from scenelift.shards.read import Shards
from trainables.common.segmentation import synthetic
from trainables.predict.config import SHIPPED

EDGES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default=SHIPPED)
    parser.add_argument("--data")
    options = parser.parse_args()
    labeler, shards = load(options.student), Shards.open(options.data or synthetic("val"))
    points, right, total = (np.zeros(len(EDGES) - 1) for _ in range(3))
    with Meter("labelling", len(shards), "frames") as meter:
        for index in range(len(shards)):
            frame = shards.read(index)
            assert frame.labels is not None, "labeled shards"
            truth, labels = frame.labels[frame.keyframe], labeler.label_frame(frame)
            known = truth > 0
            bins = np.clip(np.digitize(labels.confidence[known], EDGES) - 1, 0, len(points) - 1)
            points += np.bincount(bins, minlength=len(points))
            right += np.bincount(bins, labels.ids[known] == truth[known], len(points))
            total += np.bincount(bins, labels.confidence[known], len(points))
            meter.add()
    print("| confidence | share of points | right |\n|---|---|---|")
    for low, high, count, good in zip(EDGES, EDGES[1:], points, right, strict=False):
        if count:
            print(f"| {low:g} to {high:g} | {count / points.sum():.1%} | {good / count:.3f} |")
    gap = np.abs(right - total).sum() / points.sum()
    print(
        f"\nmean confidence {total.sum() / points.sum():.3f}, accuracy {right.sum() / points.sum():.3f}, ",
        end="",
    )
    print(f"expected calibration error {gap:.3f}")


if __name__ == "__main__":
    main()
