"""The trials of a sweep: in order, as rows, and as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scenelift.tune.trial import short

Status = Literal["finished", "stopped", "failed", "running"]
_ORDER: tuple[Status, ...] = ("finished", "stopped", "running", "failed")


@dataclass(frozen=True)
class Outcome:
    """The state of one trial."""

    name: str
    values: Mapping[str, Any]
    """Its settings, by dotted config key."""
    status: Status
    """`stopped`: early, as others were better at the same epoch."""
    epoch: int
    metrics: Mapping[str, float]
    """Validation metrics after that epoch."""
    seconds: float
    baseline: bool = False
    """Whether it has the preset's own values."""
    error: str = ""

    def value(self, objective: str) -> float | None:
        """Its objective; None if it did not report one."""
        return self.metrics.get(objective)


def ranked(outcomes: Sequence[Outcome], objective: str) -> list[Outcome]:
    """Finished trials by their objective, then those stopped early, which are not comparable with them."""

    def place(outcome: Outcome) -> tuple[int, float]:
        value = outcome.value(objective)
        return _ORDER.index(outcome.status), float("inf") if value is None else -value

    return sorted(outcomes, key=place)


def rows(outcomes: Sequence[Outcome], objective: str) -> list[dict[str, Any]]:
    """The ranking as rows with the same keys."""
    names = sorted({name for outcome in outcomes for name in outcome.metrics})
    return [
        {
            "rank": rank,
            "trial": outcome.name,
            "status": outcome.status,
            "epochs": outcome.epoch,
            **{name: outcome.metrics.get(name) for name in names},
            **outcome.values,
            "preset": outcome.baseline,
            "seconds": round(outcome.seconds, 1),
            "error": outcome.error,
        }
        for rank, outcome in enumerate(ranked(outcomes, objective), 1)
    ]


def write(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def text(outcomes: Sequence[Outcome], objective: str) -> str:
    """The ranking as a table of text."""
    table = rows(outcomes, objective)
    metrics = sorted({name for outcome in outcomes for name in outcome.metrics}, key=lambda n: n != objective)
    keys = list(outcomes[0].values)
    head = ["trial", "status", "epochs", *(name.rpartition("/")[2] for name in metrics)]
    lines = [[*head, *(key.rpartition(".")[2] for key in keys), ""]]
    for row in table:
        values = ["-" if row[name] is None else f"{row[name]:.3f}" for name in metrics]
        note = "the preset's own" if row["preset"] else row["error"][:60]
        tried = [short(row[key]) for key in keys]
        lines.append([row["trial"], row["status"], str(row["epochs"]), *values, *tried, note])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    )


def gain(outcomes: Sequence[Outcome], objective: str) -> str:
    """How much better the best trial is than the baseline, as the end of a sentence about it."""
    best, own = (
        ranked(outcomes, objective)[0],
        next((outcome for outcome in outcomes if outcome.baseline), None),
    )
    if own is None:
        return ""
    if own.status != "finished":
        return f"; the trial with the preset's own values was {own.status} after epoch {own.epoch}"
    if best is own:
        return ", the preset's own values: no other trial is better"
    return f", {best.metrics[objective] - own.metrics[objective]:+.3f} against the preset's own values"
