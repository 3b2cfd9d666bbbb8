"""Time from a typed word to the similarity of every point: the text tower and one product, as the viewer does it.

    python -m benchmarks.words [--points 35000]

The weights of CLIP are random: they decide nothing about the time.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from scenelift.config.build import to_dict
from scenelift.inference.labeler import Labeler, load
from scenelift.nn.student import Student
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER
from trainables.predict.config import SHIPPED

WORDS = ("car", "bus", "road", "tree", "person", "building", "sidewalk", "truck")


def speaking(teacher: TeacherConfig) -> Labeler:
    """The student that ships, as if it had learned from this teacher."""
    like = load(SHIPPED, "cpu").student
    text = build_teacher(teacher, like.vocabulary).text
    student = Student(like.config, like.point_features, text, like.vocabulary, {"semantic": text.shape[1]})
    student.teacher = to_dict(teacher)
    return Labeler(student)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=35_000)
    points = parser.parse_args().points
    print("| teacher | prompts | ms, least | ms, median | ms, most |\n|---|---|---|---|---|")
    for teacher in (TINY_TEACHER, replace(CLIP_TEACHER, weights="random")):
        labeler = speaking(teacher)
        features = torch.rand(points, labeler.student.text.shape[1]).numpy()
        for templates in ("plain", None):
            labeler.text(WORDS[:1], templates)  # loads the tower
            taken = []
            for word in WORDS:
                start = time.perf_counter()
                _ = features @ labeler.text([word], templates)[0].numpy()
                taken.append(1000 * (time.perf_counter() - start))
            row = f"{min(taken):.0f} | {np.median(taken):.0f} | {max(taken):.0f}"
            print(f"| {teacher.model} | {'the word' if templates else 'all'} | {row} |", flush=True)


if __name__ == "__main__":
    main()
