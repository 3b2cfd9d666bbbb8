"""CLIP2Scene: a frozen CLIP names pixels, calibration says which points they show, a 3D network learns from it.

`python -m trainables.distill [PRESET] [--group.field VALUE ...]`

What is here: semantic consistency (paper section 3.2). Spatial-temporal consistency and switchable
self-training are further losses of `Clip2Scene.forward`, by name beside the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.synthetic_shards import synthetic_shards
from scenelift import cluster
from scenelift.augmentation import Augmentation
from scenelift.batches import Batch, Collate, VoxelConfig
from scenelift.clip import DenseClip, TeacherConfig, build_teacher
from scenelift.config import command
from scenelift.console import say
from scenelift.errors import ConfigError, DataError
from scenelift.experiment import DataConfig, Experiment, experiment
from scenelift.launch import Job, Resources, ScaleConfig, launch
from scenelift.methods import Method, Progress
from scenelift.networks import MINKUNET_TINY
from scenelift.optimisers import OptimiserConfig
from scenelift.runs import RunConfig
from scenelift.scoring import Predictors
from scenelift.shards import Shards
from scenelift.student import Student, StudentConfig
from scenelift.tracking import TrackingConfig
from scenelift.training import LoopConfig, Plan
from trainables.teachers import CLIP_TEACHER, TINY_TEACHER


@dataclass(frozen=True)
class LossConfig:
    """Weights and temperatures of the losses."""

    semantic: float = 1.0
    """Weight of semantic consistency."""
    temperature: float = 1.0
    """Logits are divided by this; the paper's code has none (1), its Eq. 1 says 0.5."""
    balance: float = 0.0
    """A class weighs (its share of the batch's pseudo-labels) ** -balance; the paper weighs all alike (0).
    At 0.5 a short training does not forget rare classes."""
    surest: float = 1.0
    """Share of a batch's pairs that are learnt from: those whose best class leads the second by most. The
    paper learns from all (1); where patches straddle two things the teacher is unsure and mostly wrong."""

    remember: int = 0
    """Frames whose pseudo-labels each worker keeps in memory (5 bytes a pair), so that the teacher sees a
    frame once and not every epoch."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"loss.temperature is positive, not {self.temperature}")
        if not 0 < self.surest <= 1:
            raise ConfigError(f"loss.surest is a share above 0 and up to 1, not {self.surest}")


@dataclass(frozen=True)
class DistillConfig:
    """CLIP2Scene: distil a dense CLIP teacher into a sparse 3D student, without labels."""

    data: DataConfig = DataConfig()
    """What is trained and scored on."""
    teacher: TeacherConfig = CLIP_TEACHER
    """The 2D vision-language model."""
    student: StudentConfig = StudentConfig()
    """The 3D network."""
    augmentation: Augmentation = Augmentation()
    """Changes of the training clouds."""
    loss: LossConfig = LossConfig()
    """The losses."""
    optimiser: OptimiserConfig = OptimiserConfig(dampening=0.1)
    """Optimiser and schedule."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""
    scale: ScaleConfig = ScaleConfig()
    """Workers and what each is given."""
    tracking: TrackingConfig = TrackingConfig(experiment="distill")
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""

    def __post_init__(self) -> None:
        if self.loss.remember and self.augmentation.sweeps:
            raise ConfigError("loss.remember is for the same pairs every epoch: set augmentation.sweeps to 0")


class Clip2Scene(Method):
    """The student learns to say of a point what the teacher says of its pixel."""

    student: Student
    teacher: DenseClip

    def __init__(self, student: Student, teacher: DenseClip, loss: LossConfig) -> None:
        super().__init__()
        self.student, self.teacher, self.loss = student, teacher, loss
        self.weights = {"semantic": loss.semantic}
        self.remembered: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        labels, lead = self.pseudo_labels(batch)
        sure = surest(lead, self.loss.surest)
        features = self.student(batch.voxels)[batch.pair_voxel[sure]]
        logits = self.student.class_logits(features)
        named = labels[sure]
        return {"semantic": semantic_consistency(logits, named, self.loss.temperature, self.loss.balance)}

    def pseudo_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The teacher's class of each pair's pixel [M] 0..C-1, and its lead over the second class [M].

        Frame by frame, so that what is remembered does not depend on a frame's neighbours in the batch.
        """
        image, row, column = batch.pair_pixels.unbind(1)
        frame = batch.image_frame[image]
        found = []
        for i, token in enumerate(batch.tokens):
            said = self.remembered.get(token)
            if said is None:
                mine, images = frame == i, torch.nonzero(batch.image_frame == i).squeeze(1)
                first = int(images[0]) if len(images) else 0
                scores = self.teacher.pixel_scores(
                    batch.images[images], image[mine] - first, row[mine], column[mine]
                )
                said = leading(scores)
                if len(self.remembered) < self.loss.remember:
                    self.remembered[token] = said
            found.append(said)
        return torch.cat([labels for labels, _ in found]).long(), torch.cat([lead for _, lead in found])


def leading(scores: Tensor) -> tuple[Tensor, Tensor]:
    """[M, C] scores -> the best class (uint8 [M], 0..C-1) and how far it leads the second (float32 [M])."""
    best = scores.topk(2, dim=1)
    return best.indices[:, 0].to(torch.uint8), best.values[:, 0] - best.values[:, 1]


def surest(lead: Tensor, share: float) -> Tensor:
    """[K] which of M pairs are the given share with the largest lead; K is rounded up, in their order."""
    return lead.topk(math.ceil(share * len(lead)), sorted=False).indices.sort().values


def semantic_consistency(logits: Tensor, labels: Tensor, temperature: float, balance: float) -> Tensor:
    """Cross-entropy over the classes of each pair's point, against the label of its pixel.

    logits: [M, C] point feature . text of each class, float32; labels: [M] 0..C-1 from the teacher. A point
    in two cameras counts twice. A pair weighs (share of its class among the labels) ** -balance, and the sum
    is divided by that of the weights. Without pairs the loss is 0. Source: clip2scene.md 4.1, as the code has
    it, for temperature 1 and balance 0.
    """
    if not len(labels):
        return logits.sum() * 0
    share = torch.bincount(labels, minlength=logits.shape[1]).clamp(min=1) / len(labels)
    return F.cross_entropy(logits.float() / temperature, labels, weight=share.float() ** -balance)


def make_method(config: DistillConfig, initial: Path) -> Clip2Scene:
    """The method with the student that the folder holds; called in every training worker."""
    student = Student.load(initial)
    return Clip2Scene(student, build_teacher(config.teacher, student.vocabulary), config.loss)


def open_data(data: DataConfig) -> tuple[Shards, Shards | None]:
    """Training and test shards, of one class list; the synthetic world is made where none are named."""
    if data.train is None and data.test is None:
        data = replace(data, train=synthetic_shards("train"), test=synthetic_shards("val"))
    if data.train is None:
        raise ConfigError(
            "data.test is given without data.train; name both, or neither for the synthetic world"
        )
    train = Shards.open(data.train)
    test = Shards.open(data.test, train.vocabulary.classes) if data.test else None
    if test is not None and test.manifest.labels is None:
        raise DataError(f"{data.test} has no labels to score on; leave data.test out")
    return train, test


def run(config: DistillConfig) -> None:
    """Score the teacher, distil, score the student, show both."""
    train, test = open_data(config.data)
    with cluster.connect():
        resources = Resources.fit(config.scale)
        Plan(
            len(train), config.loop, resources.workers
        )  # refuses what cannot be split, before anything is made
        torch.manual_seed(config.loop.seed)
        teacher = build_teacher(config.teacher, train.vocabulary)
        tags = {"dataset": train.manifest.dataset, "teacher": config.teacher.model, "protocol": "label-free"}
        with experiment("distill", config, config.run, config.tracking, tags) as made:
            distil(config, made, train, test, teacher, resources)


def distil(
    config: DistillConfig,
    made: Experiment,
    train: Shards,
    test: Shards | None,
    teacher: DenseClip,
    resources: Resources,
) -> None:
    """The run itself, once everything it needs is there."""
    initial = made.run.initial
    if not initial.exists():
        point_features = train.read(0).features.shape[1]
        heads = {"semantic": teacher.text.shape[1]}
        Student(config.student, point_features, teacher.text, train.vocabulary, heads).save(initial)
    made.dataset(train, "train")
    if test is not None:
        made.dataset(test, "test")
        make = Predictors(train.vocabulary, {"random": initial}, config.teacher)
        before = made.score(test, make, "scoring the teacher", resources)
        miou = before.scores("teacher", "seen").miou
        say(f"teacher, projected to the points that cameras see: mIoU {miou:.3f}")
    job = Job(
        shards=train.path,
        folder=made.run.checkpoints,
        loop=config.loop,
        optimiser=config.optimiser,
        collate=Collate(config.student.voxels, config.augmentation, config.loop.seed),
        build=partial(make_method, config, initial),
        retries=config.scale.retries,
    )
    last = launch(job, resources, made.listen)
    made.trained()
    made.result |= {"checkpoint": str(last.folder), "device": resources.device, "workers": resources.workers}
    if test is not None:
        make = Predictors(train.vocabulary, {"student": last.folder})
        after = made.score(test, make, "scoring the student", resources)
        print(made.report(before | after, test, teacher, config.data.absent_classes, last.step))
    made.save_student(Student.load(last.folder), last.step)


PRESETS = {
    "synthetic": DistillConfig(
        teacher=TINY_TEACHER,
        student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), MINKUNET_TINY),
        augmentation=Augmentation(scale=0.05),
        loss=LossConfig(temperature=0.2, balance=0.5, surest=0.7, remember=1000),
        optimiser=OptimiserConfig("adamw", lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1),
        loop=LoopConfig(epochs=20, batch=4, checkpoint_every=200),
        scale=ScaleConfig(workers=2),
    ),
    "nuscenes": DistillConfig(),
}
"""`synthetic`: minutes on two cores; `nuscenes`: CLIP ViT-B/16 into MinkUNet14A, trained as in section 5."""


def main() -> None:
    """Entry point."""
    command(run, DistillConfig, PRESETS, "python -m trainables.distill")


if __name__ == "__main__":
    from trainables.distill import main

    main()
