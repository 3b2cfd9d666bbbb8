"""What a sweep found: its trials in order, as a table, as rows, and in pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from ray.tune.search.sample import Categorical, LogUniform

from scenelift.evaluation.pictures import FAINT, INK, PAPER, legend, save, sheet
from scenelift.tune.space import Space, ends
from scenelift.tune.trial import short

Status = Literal["finished", "stopped", "failed", "running"]
_ORDER: tuple[Status, ...] = ("finished", "stopped", "running", "failed")
_BEST, _OWN, _OTHER, _STOPPED = "#d1662a", "#3d8b57", "#2f6db0", "#9fb6cf"
_LEGEND = [
    ("best", _BEST),
    ("the preset's own", _OWN),
    ("finished", _OTHER),
    ("given up early", _STOPPED),
]
_LABEL = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1}


@dataclass(frozen=True)
class Outcome:
    """How one trial stands."""

    name: str
    values: Mapping[str, Any]
    """What was tried, by dotted config key."""
    status: Status
    """`stopped`: given up early, since others were better at the same epoch."""
    epoch: int
    metrics: Mapping[str, float]
    """Validation metrics after that epoch."""
    seconds: float
    baseline: bool = False
    """Whether it tried the values that the preset has."""
    error: str = ""

    def value(self, objective: str) -> float | None:
        """Its objective; None where it reported none."""
        return self.metrics.get(objective)


def ranked(outcomes: Sequence[Outcome], objective: str) -> list[Outcome]:
    """Finished trials by their objective, then those given up early, which may not be compared with them."""

    def place(outcome: Outcome) -> tuple[int, float]:
        value = outcome.value(objective)
        return _ORDER.index(outcome.status), float("inf") if value is None else -value

    return sorted(outcomes, key=place)


def rows(outcomes: Sequence[Outcome], objective: str) -> list[dict[str, Any]]:
    """The ranking as rows of equal keys."""
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
    """The ranking for the screen."""
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
    """What the best trial has more than the preset's own values, as the end of a sentence about it."""
    best, own = (
        ranked(outcomes, objective)[0],
        next((outcome for outcome in outcomes if outcome.baseline), None),
    )
    if own is None:
        return ""
    if own.status != "finished":
        return f"; the trial with the preset's own values was {own.status} after epoch {own.epoch}"
    if best is own:
        return ", the preset's own values: nothing else that was tried is better"
    return f", {best.metrics[objective] - own.metrics[objective]:+.3f} to the preset's own values"


def parallel_coordinates(path: Path, outcomes: Sequence[Outcome], space: Space, objective: str) -> None:
    """A line a trial through everything it tried, to its objective; the best is drawn last and thick."""
    shown = [
        outcome for outcome in reversed(ranked(outcomes, objective)) if outcome.value(objective) is not None
    ]
    scales = {
        key: _Scale.of(domain, [outcome.values[key] for outcome in shown]) for key, domain in space.items()
    }
    reached = [outcome.metrics[objective] for outcome in shown]
    scales[objective] = _Scale(min(reached), max(reached))
    figure = sheet(max(5.0, 1.7 * len(scales) + 1), 3.6)
    axis = figure.subplots()
    for number, outcome in enumerate(shown):
        heights = [
            scale.height(outcome.values.get(key, outcome.metrics.get(key))) for key, scale in scales.items()
        ]
        axis.plot(range(len(scales)), heights, **_style(outcome, number == len(shown) - 1))
    for place, scale in enumerate(scales.values()):
        axis.axvline(place, color=FAINT, linewidth=1, zorder=0)
        for height, label in scale.ticks():
            axis.text(place + 0.03, height, label, fontsize=8, color=INK, va="center", bbox=_LABEL, zorder=4)
    axis.set_xticks(range(len(scales)), [key.replace(".", ".\n") for key in scales], fontsize=9, color=INK)
    axis.set_yticks([])
    axis.set_xlim(-0.2, len(scales) - 0.6)
    axis.set_ylim(-0.05, 1.05)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    legend(figure, _LEGEND)
    save(figure, path)


def slices(
    path: Path, outcomes: Sequence[Outcome], space: Space, objective: str, shares: Mapping[str, float]
) -> None:
    """The objective against each searched key, and how much of it each key explains."""
    columns = min(3, len(space))
    count = -(-len(space) // columns)
    figure = sheet(3.6 * columns, 2.9 * count)
    shown = [outcome for outcome in ranked(outcomes, objective) if outcome.value(objective) is not None]
    for place, (key, domain) in enumerate(space.items(), 1):
        axis = figure.add_subplot(count, columns, place)
        scale = _Scale.of(domain, [outcome.values[key] for outcome in shown])
        for number, outcome in reversed(list(enumerate(shown))):
            style = _style(outcome, number == 0)
            axis.plot(
                scale.height(outcome.values[key]),
                outcome.metrics[objective],
                "o",
                color=style["color"],
                markersize=7 if number == 0 else 5,
            )
        axis.set_xticks([height for height, _ in scale.ticks()], [label for _, label in scale.ticks()])
        axis.set_xlim(-0.06, 1.06)
        share = f"   importance {100 * shares[key]:.0f} %" if key in shares else ""
        axis.set_title(f"{key}{share}", fontsize=10, color=INK, loc="left")
        _plain(axis)
        if place % columns == 1 or columns == 1:
            axis.set_ylabel(objective, fontsize=9, color=INK)
    legend(figure, _LEGEND)
    save(figure, path)


def _plain(axis: Axes) -> None:
    axis.tick_params(labelsize=8, colors=INK)
    axis.grid(color=FAINT, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)


def _style(outcome: Outcome, best: bool) -> dict[str, Any]:
    if best:
        return {"color": _BEST, "linewidth": 2.6, "zorder": 3}
    if outcome.baseline:
        return {"color": _OWN, "linewidth": 2.0, "zorder": 2.5}
    whole = outcome.status == "finished"
    return {"color": _OTHER if whole else _STOPPED, "linewidth": 1.3, "zorder": 2 if whole else 1}


@dataclass(frozen=True)
class _Scale:
    """Where a value stands between the ends of its axis: 0 at the bottom, 1 at the top."""

    low: float
    high: float
    log: bool = False
    names: tuple[Any, ...] = ()

    @classmethod
    def of(cls, domain: Any, tried: Sequence[Any]) -> _Scale:
        """All of the domain, and what was tried beyond it: a preset's own values may lie there."""
        if isinstance(domain, Categorical):
            names = tuple(dict.fromkeys([*domain.categories, *tried]))
            return cls(0, max(1, len(names) - 1), names=names)
        log = isinstance(domain.get_sampler(), LogUniform)
        reached = [*ends(domain), *(value for value in tried if _has_place(value, log))]
        return cls(min(reached), max(reached), log)

    def height(self, value: Any) -> float:
        """NaN, which is not drawn, for what has no place on an axis of numbers."""
        if not self.names and not _has_place(value, self.log):
            return float("nan")
        number = float(self.names.index(value)) if self.names else float(value)
        low, high = self.low, self.high
        if self.log:
            number, low, high = np.log(number), np.log(low), np.log(high)
        return float((number - low) / (high - low)) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        if self.names:
            return [(self.height(name), short(name)) for name in self.names]
        if self.high <= self.low:
            return [(0.5, short(self.low))]
        middle = float(np.sqrt(self.low * self.high)) if self.log else (self.low + self.high) / 2
        return [(self.height(value), short(float(value))) for value in (self.low, middle, self.high)]


def _has_place(value: Any, log: bool) -> bool:
    return value is not None and not (log and value <= 0)
