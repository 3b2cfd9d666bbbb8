"""One run of any task: score what is there, train, score the student, keep it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from scenelift.cluster import connect as cluster
from scenelift.evaluation.validation import Validation
from scenelift.runs.experiment import Experiment, experiment
from scenelift.runs.monitor import Observe, ignore
from scenelift.runs.task import Task
from scenelift.train.job import Job, build_from
from scenelift.train.launch import Resources, launch
from scenelift.train.method import Trained
from scenelift.train.plan import Plan


def run(task: Task[Any], observe: Observe = ignore) -> None:
    """The whole run, from connecting to Ray to `result.json`; observe: takes what is said at the end of epochs."""
    config = task.config
    with cluster.connect():
        resources = Resources.fit(config.scale)
        samples, validation = task.validation()
        # Refuses what cannot be split over the workers, or weights that are missing, before a run is begun.
        Plan(len(task.train) if samples is None else len(samples), config.loop, resources.workers)
        torch.manual_seed(config.loop.seed)
        student = task.student()
        tags = {"dataset": task.train.manifest.dataset, "seed": str(config.loop.seed), **task.tags()}
        columns = (*task.objectives, *task.columns)
        with experiment(task.command, config, tags, task.presets, columns, observe) as started:
            job = _job(task, student, samples, validation, started)
            _train_and_score(task, job, resources, started)


def _job(
    task: Task[Any], student: Trained, samples: Any, validation: Validation[Any] | None, started: Experiment
) -> Job:
    config, initial = task.config, started.begin(student)
    return Job(
        shards=task.train.path,
        folder=started.run.checkpoints,
        loop=config.loop,
        optimizer=config.optimizer,
        collate=task.collate(student),
        build=partial(build_from, partial(type(task).method, config), initial),
        retries=config.scale.retries,
        frames=samples,
        validation=validation,
        kind=task.train.kind,
        smaller_samples=task.smaller_samples,
    )


def _train_and_score(task: Task[Any], job: Job, resources: Resources, started: Experiment) -> None:
    initial, before = started.run.initial, None
    started.dataset(task.train, "train")
    if task.test is not None:
        started.dataset(task.test, "test")
        if not job.loop.preflight_steps:
            before = task.score_before(initial, resources)
    last = launch(job, resources, started.listen)
    started.trained()
    started.result |= {"checkpoint": last.folder, "device": resources.device, "workers": resources.workers}
    if task.test is not None:
        report = task.score(before, initial, last.folder, resources, started.run.pictures)
        started.report(report, last.step)
    student = task.load(last.folder)
    started.save_student(student, task.describe(student), last.step)
