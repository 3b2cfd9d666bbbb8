"""Results of a sweep: ranking of its trials, importance of its settings, pictures."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution

from scenelift.tune.space import Space, holds, inside
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


def ranked(outcomes: Sequence[Outcome], objective: str) -> list[Outcome]:
    """Finished trials by their objective, then those stopped early, which cannot be compared with them."""

    def place(outcome: Outcome) -> tuple[int, float]:
        value = outcome.metrics.get(objective)
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


def text(outcomes: Sequence[Outcome], objective: str) -> str:
    """The ranking as a table of text."""
    metrics = sorted({name for outcome in outcomes for name in outcome.metrics}, key=lambda n: n != objective)
    keys = list(outcomes[0].values)
    head = ["trial", "status", "epochs", *(name.rpartition("/")[2] for name in metrics)]
    lines = [[*head, *(key.rpartition(".")[2] for key in keys), ""]]
    for row in rows(outcomes, objective):
        scores = ["-" if row[name] is None else f"{row[name]:.3f}" for name in metrics]
        note = "the preset's own" if row["preset"] else row["error"][:60]
        settings = [short(row[key]) for key in keys]
        lines.append([row["trial"], row["status"], str(row["epochs"]), *scores, *settings, note])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def gain(outcomes: Sequence[Outcome], objective: str) -> str:
    """The gain of the best trial over the baseline, as the end of a sentence about it."""
    best = ranked(outcomes, objective)[0]
    baseline = next((outcome for outcome in outcomes if outcome.baseline), None)
    if baseline is None:
        return ""
    if baseline.status != "finished":
        return f"; the trial with the preset's own values was {baseline.status} after epoch {baseline.epoch}"
    if best is baseline:
        return ", the preset's own values: no other trial is better"
    return f", {best.metrics[objective] - baseline.metrics[objective]:+.3f} against the preset's own values"


Scored = Sequence[tuple[Mapping[str, Any], float]]
"""The values of each trial by key, and its objective."""
_OWN = {"color": "#d1662a", "label": "the preset's own values", "zorder": 3}


def silence() -> None:
    """Optuna would log every trial, and warn of what it calls experimental."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def create(space: Space, trials: Scored) -> optuna.Study:
    """A study of the trials, without values outside the space, as those of the baseline may be."""
    silence()
    study = optuna.create_study(direction="maximize")
    for values, objective in trials:
        known = {key: each for key, each in space.items() if inside(each, values[key])}
        params = {key: values[key] for key in known}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=known, value=objective))
    return study


def importance(space: Space, trials: Scored) -> dict[str, float]:
    """Each key's fraction of what the objective depends on (PED-ANOVA), largest first. Trials outside the space
    are left out; empty with fewer than four others, or if all have the same objective."""
    kept = [(values, objective) for values, objective in trials if holds(space, values)]
    if len(kept) < 4 or len({objective for _, objective in kept}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(create(space, kept), evaluator=evaluator)


def pictures(
    folder: Path,
    space: Space,
    trials: Scored,
    objective: str,
    shares: Mapping[str, float],
    baseline: int | None,
) -> None:
    """Write `parallel_coordinates.png` and `slices.png`; baseline: index of its trial."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")
    study = create(space, trials)
    with pyplot.style.context("default"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of axes with a single value
        for name, draw in (("parallel_coordinates", _parallel), ("slices", _slices)):
            figure = draw(study, objective, shares, baseline)
            figure.savefig(folder / f"{name}.png", dpi=160, bbox_inches="tight")
            pyplot.close(figure)


def _parallel(study: optuna.Study, objective: str, shares: Mapping[str, float], baseline: int | None) -> Any:
    axis = optuna.visualization.matplotlib.plot_parallel_coordinate(study, target_name=objective)
    keys = sorted({key for trial in study.trials for key in trial.params})  # as Optuna orders them
    axis.set_xticks(range(len(keys) + 1), [objective, *keys])
    axis.figure.set_size_inches(6 + 1.6 * len(keys), 4.8)
    if baseline is not None and axis.collections:  # without a trial inside the space Optuna draws none
        lines = axis.collections[0].get_segments()
        line = next(line for line in lines if line[0, 1] == study.trials[baseline].value)
        axis.figure.legend(handles=axis.plot(*line.T, **_OWN), loc="upper left")
    return axis.figure


def _slices(study: optuna.Study, objective: str, shares: Mapping[str, float], baseline: int | None) -> Any:
    axes = np.atleast_1d(optuna.visualization.matplotlib.plot_slice(study, target_name=objective))
    figure = axes[0].figure
    figure.set_size_inches(2 + 3.2 * len(axes), 4.8)
    for axis in axes:
        key = axis.get_xlabel()
        axis.tick_params(axis="x", which="both", rotation=60)
        axis.set_xlabel(f"{key}\nimportance {100 * shares[key]:.0f} %" if key in shares else key)
        if baseline is not None and key in study.trials[baseline].params:
            value: Any = study.trials[baseline].params[key]
            if isinstance(study.trials[baseline].distributions[key], CategoricalDistribution):
                value = repr(value)  # where Optuna puts it
            (dot,) = axis.plot(value, study.trials[baseline].value, "o", **_OWN)
            figure.legends.clear()
            figure.legend(handles=[dot], loc="upper left")
    return figure
