"""Compares finished runs: those that differ in the seed alone make a row, with mean and spread.

A block is a set of rows whose scores may share a column: on the same points of the same shards, by one protocol.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenelift.config.build import experiment_identity
from scenelift.runs.history import RANDOM, Data, Finished
from trainables.common.training import student_name

LABEL_FREE = "label-free"
"""Protocol of scores for which no label was used."""
PREFIXES = {"label_free": LABEL_FREE, "labeled": "labeled"}
"""First part of a student's metrics -> protocol, for runs without such a tag."""
_ELSEWHERE = ("start", "student", "against", "data.train", "data.test", "with_teacher")
"""Config keys of paths, which differ between seeds and machines, or without effect on a student's scores."""
_ABSENT = "data.absent_classes"


@dataclass(frozen=True, order=True)
class Block:
    """What comparable scores have in common."""

    dataset: str
    split: str
    digest: str
    protocol: str


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone."""

    block: Block
    name: str
    teacher: str
    student: str
    prefix: str
    """First part of the metrics' names, one of `PREFIXES`; teacher and untrained student are label_free."""
    values: Mapping[str, Mapping[str, float]]
    """Metric without its first part, such as miou_seen -> seed -> value."""

    def mean(self, metric: str) -> float | None:
        """Over the seeds; None if the row lacks the metric."""
        values = self.values.get(metric)
        return statistics.fmean(values.values()) if values else None

    def spread(self, metric: str) -> float | None:
        """Sample standard deviation over the seeds; None below two."""
        values = self.values.get(metric, {})
        return statistics.stdev(values.values()) if len(values) > 1 else None

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return max((len(values) for values in self.values.values()), default=0)


@dataclass(frozen=True)
class _Entry:
    """The scores of one predictor in one run."""

    block: Block
    base: str
    identity: Mapping[str, str]
    """Settings that distinguish it from rows of the same base."""
    teacher: str
    student: str
    seed: str
    run: Finished
    values: Mapping[str, float]
    prefix: str = "label_free"


def compare(runs: Sequence[Finished], known: Sequence[Finished] = ()) -> tuple[list[Row], list[str]]:
    """Rows in the order of their first runs, and warnings.

    runs: the oldest first. Of two runs that are the same with the same seed the newer counts.
    known: further runs, from which students may have been started.
    """
    by_id = {run.run_id: run for run in (*known, *runs)}
    groups: dict[Any, list[_Entry]] = defaultdict(list)
    for entry in (entry for run in runs for entry in _entries(run, by_id)):
        groups[entry.block, entry.base, frozenset(entry.identity.items())].append(entry)
    warnings: list[str] = []
    kept = [_newest(group, warnings) for group in groups.values()]
    names = _names([group[0] for group in kept])
    rows = [_row(group, name) for group, name in zip(kept, names, strict=True)]
    order = {RANDOM: 0, "teacher": 1}
    return sorted(rows, key=lambda row: (row.block, order.get(row.name.partition(":")[0], 2))), warnings


def _entries(run: Finished, by_id: Mapping[str, Finished]) -> Iterable[_Entry]:
    """The student, the untrained student and the teacher of a run, as far as it scored them."""
    if "test" not in run.data:
        return
    params, tags = run.params, run.tags
    student = _student(run)
    seed = tags.get("seed", params.get("loop.seed", ""))
    for prefix, protocol in PREFIXES.items():
        if values := _branch(run.metrics, f"{prefix}/"):
            block = _block(run, tags.get("protocol", protocol))
            identity = _identity(run, by_id)
            teacher = _teacher(run, by_id)
            yield _Entry(block, _base(run), identity, teacher, student, seed, run, values, prefix)
    block = _block(run, LABEL_FREE)
    if values := _branch(run.metrics, "random/"):
        identity = _branch(params, "student.")
        yield _Entry(block, RANDOM, identity, "none", student, seed, run, values)
    if "teacher/miou" in run.metrics:
        values = {"miou_seen": run.metrics["teacher/miou"]}  # it predicts only points that cameras see
        yield _Entry(block, "teacher", _branch(params, "teacher."), _clip(params), "none", "", run, values)


def _teacher(run: Finished, by_id: Mapping[str, Finished]) -> str:
    """The teacher of a student, or that of the run that trained its start."""
    if start := by_id.get(run.tags.get("start_run", "")):
        return _teacher(start, by_id)
    if "start" in run.tags or "teacher.model" not in run.params:
        return run.tags.get("teacher", "none")
    return run.tags.get("images") or _clip(run.params)


def _student(run: Finished) -> str:
    """Name of the student, from the config or else the tags."""
    config = _branch(run.params, "student.")
    return student_name(config) if config else run.tags.get("student_name", run.tags.get("student", "none"))


def _clip(params: Mapping[str, str]) -> str:
    return f"{params['teacher.model']} ({Path(params.get('teacher.weights', '')).stem})"


def _block(run: Finished, protocol: str) -> Block:
    data: Data = run.data["test"]
    absent = run.params.get(_ABSENT, "leave out")
    suffix = "" if absent == "leave out" else f", absent classes {absent}"
    return Block(data.dataset, data.split, data.digest, protocol + suffix)


def _base(run: Finished) -> str:
    """Name of a row without its settings: distill, or distill -> finetune."""
    method = run.tags.get("method") or run.tags.get("trainable", run.name)
    return f"{run.tags['start']} -> {method}" if "start" in run.tags else method


def _identity(run: Finished, by_id: Mapping[str, Finished]) -> dict[str, str]:
    unused = (*_ELSEWHERE, _ABSENT)
    own = {key: value for key, value in experiment_identity(run.params).items() if key not in unused}
    if run.tags.get("trainable") == "evaluate":
        own = {key: value for key, value in own.items() if not key.startswith(("teacher.", "scale."))}
    if "train" in run.data:
        own["train"] = run.data["train"].digest
    start = by_id.get(run.tags.get("start_run", ""))
    if start is not None:
        return own | {f"start.{key}": value for key, value in _identity(start, by_id).items()}
    return own | ({"start": run.tags["start_version"]} if "start_version" in run.tags else {})


def _branch(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _newest(group: list[_Entry], warnings: list[str]) -> list[_Entry]:
    """One entry a seed: the newest."""
    kept: dict[str, _Entry] = {}
    for entry in group:
        old, problem = kept.get(entry.seed), ""
        if old is not None and entry.base not in (RANDOM, "teacher"):
            problem = f"are the same training with seed {entry.seed or 'none'}"
        elif old is not None and old.values != entry.values:
            problem = f"have other scores of the same {entry.base}"
        if old is not None and problem:
            names = old.run.name, entry.run.name
            warnings.append(f"{names[0]} and {names[1]} {problem}; the newer counts, {names[1]}")
        kept[entry.seed] = entry
    return list(kept.values())


def _names(entries: Sequence[_Entry]) -> list[str]:
    """Base, and the settings with other values than in most rows of the same block and base; if no value is the
    most frequent, all rows name theirs."""
    alike: dict[Any, list[_Entry]] = defaultdict(list)
    for entry in entries:
        alike[entry.block, entry.base].append(entry)
    names = []
    for entry in entries:
        others = [other.identity for other in alike[entry.block, entry.base]]
        own = [
            f"{key}={entry.identity.get(key, 'none')}"
            for key in dict.fromkeys(key for identity in others for key in identity)
            if entry.identity.get(key) != _usual([identity.get(key) for identity in others])
        ]
        names.append(f"{entry.base}: {', '.join(own)}" if own else entry.base)
    return names


def _usual(values: Sequence[str | None]) -> str | None:
    """The most frequent value; if there are several, one that is unequal to all."""
    (first, count), *rest = Counter(values).most_common()
    return "\0" if rest and rest[0][1] == count else first


def _row(group: Sequence[_Entry], name: str) -> Row:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for entry in group:
        for metric, value in entry.values.items():
            values[metric][entry.seed] = value
    first = group[0]
    return Row(first.block, name, first.teacher, first.student, first.prefix, values)


def distinct_titles(rows: Sequence[Row]) -> list[Row]:
    """The rows, with the digest in the split's name if two blocks would otherwise have the same title."""
    titles = Counter(replace(block, digest="") for block in {row.block for row in rows})

    def titled(block: Block) -> Block:
        unique = titles[replace(block, digest="")] == 1
        return block if unique else replace(block, split=f"{block.split} ({block.digest[:8]})")

    return [replace(row, block=titled(row.block)) for row in rows]
