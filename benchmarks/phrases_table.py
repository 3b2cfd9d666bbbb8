"""CKD's parts against each other on the synthetic images, several seeds: R@1 with its spread over the seeds.

`python -m benchmarks.phrases_table [--seeds 3]`: the preset `synthetic` of `trainables.phrases` and what it becomes
without its parts, trained by the same loop in this process, without Ray. A row is the mean and, behind ±, the
sample standard deviation over the seeds, which decide weights, order and sentences; the world is the same.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.captions.config import CaptionOptions
from datasets.synthetic_images.generate import generate
from datasets.synthetic_images.shards import DEMO, source_of
from scenelift.samples.caption import CaptionedImage, RegionStatistics, feature_sums, words_of
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.loop import train
from scenelift.train.plan import Plan
from scenelift.train.state import Worker
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.config import PRESETS, PhrasesConfig
from trainables.phrases.method import Ckd
from trainables.phrases.scores import Grounder, PhraseScores, believed, chance
from trainables.phrases.student import PhraseStudent, make_student

COLUMNS = ("r1", "r5", "r10", "pointing", "r1/known to the detector", "r1/unknown to the detector")


def rows() -> dict[str, PhrasesConfig]:
    """What is compared."""
    ours, paper = PRESETS["synthetic"], PRESETS["paper_synthetic"]
    margin = replace(ours.contrast, form="margin", margin=0.3, logit_scale=2.0)
    none = replace(ours.distillation, support="none")
    return {
        "max-margin": replace(ours, contrast=margin, distillation=none),
        "contrastive": replace(ours, distillation=none),
        "distillation alone": replace(ours, contrast=replace(ours.contrast, form="none")),
        "contrastive + distillation": ours,
        "the same over all regions": replace(ours, distillation=replace(ours.distillation, support="all")),
        "paper's losses, contrastive": replace(paper, distillation=none),
        "paper's losses, both": paper,
    }


def collation(config: PhrasesConfig, student: PhraseStudent, images: list[CaptionedImage]) -> PhraseCollate:
    """Regions and phrases to tensors, as `trainables.phrases.task` does it."""
    data, distillation = config.data, config.distillation
    return PhraseCollate(
        words=student.vocabulary,
        captions=data.captions,
        phrases=data.phrases,
        distil=distillation.support != "none",
        neighbours=distillation.neighbours,
        mask_padding=data.mask_padding,
        regions=None if data.mask_padding else max(len(sample.boxes) for sample in images),
        seed=config.loop.seed,
    )


def trained(config: PhrasesConfig, images: list[CaptionedImage]) -> PhraseStudent:
    """The student after the whole training."""
    torch.manual_seed(config.loop.seed)
    words = {word for sample in images for phrase in sample.phrases for word in words_of(phrase.text)}
    statistics = RegionStatistics.of([feature_sums(sample.features for sample in images)])
    student = make_student(config.student, words, statistics)
    method = Ckd(student, config.contrast, config.distillation)

    def stream(
        indices: NDArray[np.int64], collate: Callable[[list[Any], int], Any], size: int
    ) -> Iterator[Any]:
        for number, start in enumerate(range(0, len(indices), size)):
            yield collate([images[i] for i in indices[start : start + size]], number)

    with tempfile.TemporaryDirectory() as folder:
        collate = collation(config, student, images)
        plan = Plan(len(images), replace(config.loop, checkpoint_every=10**9), 1)
        train(method, Worker(plan, config.optimizer, Checkpoints(Path(folder), 1), collate, stream))
    return student.eval()


def scored(ground: Grounder, images: list[CaptionedImage]) -> dict[str, float]:
    """The metrics of one grounder."""
    scores = PhraseScores()
    for sample in images:
        scores.add(sample, ground(sample))
    return scores.metrics()


def main() -> None:
    """Train, score and print row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    generate(DEMO)
    source = source_of(DEMO.out)
    learnt, tested = (
        [source.read(keyframe, CaptionOptions()) for keyframe in source.list_samples(split)]
        for split in ("train", "test")
    )
    print(f"| {'':<28} | R@1 | R@5 | R@10 | pointing | R@1, known to the detector | R@1, unknown |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    show("random", [scored(chance(seed), tested) for seed in seeds])
    show("detector alone", [scored(believed, tested)])
    for name, config in rows().items():
        found = []
        for seed in seeds:
            seeded = replace(config, loop=replace(config.loop, seed=seed))
            found.append(scored(trained(seeded, learnt).ground, tested))
        show(name, found)


def show(name: str, found: list[dict[str, float]]) -> None:
    """One row: mean and spread of each column."""
    cells = []
    for column in COLUMNS:
        values = np.array([metrics[column] for metrics in found])
        spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
        cells.append(f"{values.mean():.3f}{spread}")
    print(f"| {name:<28} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
