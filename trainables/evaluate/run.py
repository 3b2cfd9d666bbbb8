"""Scores a trained student, the teacher alone, or both, on labeled shards; no training."""

from __future__ import annotations

from scenelift.cluster import connect as cluster
from scenelift.config.build import flatten
from scenelift.errors import ConfigError, DataError
from scenelift.io import storage
from scenelift.io.storage import Location
from scenelift.nn.student import Student
from scenelift.runs.experiment import experiment, finished
from scenelift.runs.history import Origin
from scenelift.shards.read import Shards
from scenelift.teachers.clip import build_teacher
from scenelift.train.launch import Resources
from trainables.common.scoring import HowLearned, Predictors, evaluate
from trainables.common.segmentation import COLUMNS, report, report_unlabeled, synthetic
from trainables.common.training import network_name, start_tags, student_name
from trainables.evaluate.config import PRESETS, EvaluateConfig


def run(config: EvaluateConfig) -> None:
    """Score, show, record."""
    if finished(config):
        return
    shards = Shards.open(config.data.test or synthetic("val"))
    if not shards.about.labeled and config.student is None:
        raise DataError(
            f"{shards.path} has no labeled point, so a teacher alone cannot be scored on it; give --student too, "
            "or --data.test labeled ones"
        )
    students: dict[str, Location] = {}
    tags = {"dataset": shards.manifest.release, "protocol": "label-free"}
    protocol: HowLearned = "label_free"
    if config.with_teacher:
        if not any(shards.about.pairs.values()) and shards.about.labeled:
            raise DataError(
                f"{shards.path} has no images that show points, so no teacher can be scored on it; write "
                "--with_teacher false"
            )
        tags["teacher"] = config.teacher.model
        build_teacher(config.teacher, shards.vocabulary)  # or what is wrong with it is said after the start
    if config.student is not None:
        students["student"] = storage.absolute(config.student)
        student = Student.load(config.student)
        _require_classes(student, config.student, shards)
        protocol = "labeled" if "classifier" in student.heads else "label_free"
        tags |= _student_tags(student, config.student, protocol)
    if config.against is not None:
        students["against"] = storage.absolute(config.against)
        _require_classes(Student.load(config.against), config.against, shards)
        tags["against"] = Origin.of(config.against).run_id or "no run"
    make = Predictors(shards.vocabulary, students, config.teacher if config.with_teacher else None)
    with cluster.connect():
        resources = Resources.fit(config.scale)
        with experiment("evaluate", config, tags, PRESETS, COLUMNS) as started:
            started.dataset(shards, "test")
            absent, folder = config.data.absent_classes, started.run.pictures
            if shards.about.labeled:
                scored = evaluate(shards, make, "scoring", resources.workers, resources.gpus)
                started.report(report(scored, shards, make, absent, protocol, folder), step=0)
            else:
                started.report(report_unlabeled(shards, make, resources, folder), step=0)


def _student_tags(student: Student, folder: str, protocol: HowLearned) -> dict[str, str]:
    """The student's network, and the run that trained it with its seed and its protocol."""
    origin = Origin.of(folder)
    return {
        **start_tags(origin),
        "student": network_name(flatten(student.config.network)),
        "student_name": student_name(flatten(student.config)),
        "seed": origin.tag("seed", ""),
        "protocol": origin.tag("protocol", protocol.replace("_", "-")),
    }


def _require_classes(student: Student, folder: str, shards: Shards) -> None:
    """ConfigError for a student that does not predict classes, or not those of the shards."""
    if not {"semantic", "classifier"} & set(student.heads):
        raise ConfigError(
            f"{folder} names no classes yet; fine-tune it first: python -m trainables.finetune --start {folder}"
        )
    known, needed = student.vocabulary.classes, shards.vocabulary.classes
    if known != needed:
        raise ConfigError(
            f"the student knows {', '.join(known)}; the shards have {', '.join(needed)}. Score it on shards of "
            f"its own classes, or fine-tune it on these: python -m trainables.finetune --start {folder}"
        )
