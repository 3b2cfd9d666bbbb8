"""One run of any task, from connecting to Ray to `result.json`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from scenelift.cluster import connect as cluster
from scenelift.io import storage
from scenelift.runs.experiment import STUDENT, Experiment, Observe, experiment, finished, ignore
from scenelift.runs.task import Task
from scenelift.train.job import Job, build_from
from scenelift.train.launch import Resources, launch
from scenelift.train.plan import Plan


def run(task: Task[Any], observe: Observe = ignore) -> None:
    """The whole run, from connecting to Ray to `result.json`."""
    config = task.config
    if finished(config):
        return
    with cluster.connect():
        resources = Resources.fit(config.scale)
        frames, validation = task.validation()
        # Refuses batches that cannot be split over the workers, or missing weights, before a run is begun.
        Plan(len(task.train if frames is None else frames), config.loop, resources.workers)
        torch.manual_seed(config.loop.seed)
        student = task.student()
        tags = {"dataset": task.train.manifest.release, "seed": str(config.loop.seed), **task.tags()}
        columns = (*task.objectives, *task.columns)
        with experiment(task.command, config, tags, task.presets, columns, observe) as started:
            job = Job(
                samples=task.train,
                folder=started.run.checkpoints,
                loop=config.loop,
                optimizer=config.optimizer,
                collate=task.collate(student),
                build=partial(build_from, partial(type(task).method, config), started.begin(student)),
                retries=config.scale.retries,
                frames=frames,
                validation=validation,
                smaller_samples=task.smaller_samples,
            )
            watched = config.loop.watch.metric or (validation.measure.names[0] if validation else "")
            _train_and_score(task, job, resources, started, watched)
    if advice := task.following(storage.join(started.run.place, STUDENT)):
        print(advice)


def _train_and_score(
    task: Task[Any], job: Job, resources: Resources, started: Experiment, watched: str
) -> None:
    """watched: the metric by which a checkpoint is the best."""
    initial, before = started.run.initial, None
    if task.test is None or task.test.manifest != task.train.manifest:
        started.dataset(task.train, "train")
    if task.test is not None:
        same = task.test.manifest == task.train.manifest
        started.dataset(task.test, *(("train", "test") if same else ("test",)))
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
    best = job.checkpoints.best() if job.loop.watch.keep_best else None
    if best is not None and best.score is not None and best.folder != last.folder:
        kept = task.load(best.folder)
        started.log_best(kept, task.describe(kept), {watched: best.score}, best.step)
