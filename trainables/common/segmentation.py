"""What every training of a 3D student shares: which shards it reads, and a run's way from shards to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from datasets.synthetic.shards import synthetic_shards
from scenelift.cluster import connect as cluster
from scenelift.config.build import flatten
from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.config import NO_VALIDATION, ValidationConfig
from scenelift.evaluation.reports import Protocol as ScoreProtocol
from scenelift.evaluation.scoring import Predictors
from scenelift.evaluation.validation import MIOU, Validation, hold_out
from scenelift.io.console import say
from scenelift.nn.config import StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.runs.comparison import network_name
from scenelift.runs.config import DataConfig, RunConfig
from scenelift.runs.experiment import Experiment, experiment
from scenelift.runs.monitor import Observe, ignore
from scenelift.samples.frame_kind import FRAME
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from scenelift.train.job import Job, build_from
from scenelift.train.launch import Resources, launch
from scenelift.train.method import Method
from scenelift.train.plan import Plan

if TYPE_CHECKING:
    from scenelift.teachers.clip import DenseClip
    from scenelift.teachers.config import TeacherConfig


class TrainingConfig(Protocol):
    """The branches that every training's config tree has."""

    @property
    def data(self) -> DataConfig: ...
    @property
    def student(self) -> StudentConfig: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def loop(self) -> LoopConfig: ...
    @property
    def scale(self) -> ScaleConfig: ...
    @property
    def tracking(self) -> TrackingConfig: ...
    @property
    def run(self) -> RunConfig: ...


@dataclass(frozen=True)
class Training:
    """One training of a student, ready to run."""

    command: str
    """Name of the trainable, such as distill."""
    config: TrainingConfig
    presets: Mapping[str, TrainingConfig]
    """The command's; what the config changes of the nearest names the run."""
    train: Shards
    test: Shards | None
    """Labeled shards that the student is scored on; None: it is not."""
    student: Callable[[], Student]
    """Makes the student as it is before the first step."""
    collate: Collate
    build: Callable[[Path], Method]
    """Makes the method, inside each worker, around the student that the folder holds."""
    tags: Mapping[str, str]
    """Tags of the MLflow run: teacher, protocol and what else tells it from others of its trainable; those that
    every training has come by themselves."""
    frames: Sequence[int] | None = None
    """Which frames are trained on; None: all."""
    teacher: TeacherConfig | None = None
    """A teacher to score before and to draw beside the student."""
    vocabulary: Vocabulary | None = None
    """The classes of the test shards in other words; None: in the shards' own."""
    protocol: ScoreProtocol = "label_free"
    """How the student came to know the classes; the first part of its metrics' names."""
    validation: ValidationConfig = NO_VALIDATION
    """Training scenes that are held out."""


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
    if test is not None and test.about.labels is None:
        raise DataError(f"{data.test} has no labels to score on; leave data.test out")
    return train, test


def selecting(config: Any, scenes: int, objective: str) -> Any:
    """The config for a run that others are compared with to choose one: it is validated on one training scene of
    so many, and leaves the test scenes alone. DataError if the shards do not allow for the objective."""
    train, _ = open_data(config.data)
    chosen = replace(config.validation, holdout_every=scenes)
    _, validation = hold_out(chosen, train, None)
    if validation is None or objective not in validation.names:
        missing = "labels" if objective == MIOU else "sweeps"
        raise DataError(
            f"{train.path} has no {missing}, so {objective} cannot be measured on it; choose another --objective"
        )
    return replace(config, data=replace(config.data, train=train.path, test=None), validation=chosen)


def run_training(training: Training, observe: Observe = ignore) -> None:
    """Score what is there before, train, score the student, show all of it."""
    config = training.config
    with cluster.connect():
        resources = Resources.fit(config.scale)
        frames, validation = hold_out(training.validation, training.train, training.frames)
        # Refuses what cannot be split over the workers, or weights that are not there, before a run is begun.
        Plan(len(training.train) if frames is None else len(frames), config.loop, resources.workers)
        torch.manual_seed(config.loop.seed)
        student = training.student()
        with experiment(
            training.command,
            config,
            config.run,
            config.tracking,
            _tags(training),
            training.presets,
            observe,
        ) as made:
            _run(replace(training, frames=frames), validation, student, made, resources)


def _tags(training: Training) -> dict[str, str]:
    return {
        "dataset": training.train.manifest.dataset,
        "student": network_name(flatten(training.config.student.network)),
        "seed": str(training.config.loop.seed),
        **training.tags,
    }


def _run(
    training: Training,
    validation: Validation | None,
    student: Student,
    made: Experiment,
    resources: Resources,
) -> None:
    """The run itself, once everything it needs is there."""
    test, initial = training.test, made.begin(student)
    vocabulary = training.vocabulary or training.train.vocabulary
    made.dataset(training.train, "train")
    scored = None
    if test is not None:
        made.dataset(test, "test")
        if training.teacher is not None and not training.config.loop.preflight_steps:
            make = Predictors(vocabulary, {"random": initial}, training.teacher)
            scored = made.score(test, make, "scoring the teacher", resources)
            miou = scored.scores("teacher", "seen").miou
            say(f"teacher, projected to the points that cameras see: mIoU {miou:.3f}")
    job = Job(
        shards=training.train.path,
        kind=FRAME,
        folder=made.run.checkpoints,
        loop=training.config.loop,
        optimizer=training.config.optimizer,
        collate=training.collate,
        build=partial(build_from, training.build, initial),
        retries=training.config.scale.retries,
        frames=training.frames,
        validation=validation,
        smaller_samples="use fewer augmentation.lidar_sweeps, a larger student.voxels.size, a smaller network, "
        "or a machine with more memory",
    )
    last = launch(job, resources, made.listen)
    made.trained()
    made.result |= {"checkpoint": last.folder, "device": resources.device, "workers": resources.workers}
    if test is not None:
        make = Predictors(vocabulary, {"student": last.folder})
        after = made.score(test, make, "scoring the student", resources)
        scored = after if scored is None else scored | after
        teacher = _teacher(training, vocabulary)
        absent = training.config.data.absent_classes
        print(made.report(scored, test, teacher, absent, last.step, training.protocol))
    student = Student.load(last.folder)
    about = {"vocabulary": student.vocabulary.version, "parameters": student.size}
    made.save_student(student, about, last.step)


def _teacher(training: Training, vocabulary: Vocabulary) -> DenseClip | None:
    """The teacher that pictures show beside the student."""
    if training.teacher is None:
        return None
    from scenelift.teachers.clip import build_teacher  # seconds, which trainings without a teacher can spare

    return build_teacher(training.teacher, vocabulary)
