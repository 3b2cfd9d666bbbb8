"""What MLflow's page of an experiment shows when it is opened by our link: columns, their order, charts.

MLflow keeps a named view as a tag of the experiment; an address opens it, and the page's menu of views lists it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scenelift.config import build
from scenelift.tracking import mlflow_internals

if TYPE_CHECKING:
    from mlflow.entities import Run

KEY = "scenelift"
"""Name of the view in addresses."""
TAG = mlflow_internals.view_tag(KEY)
"""Name of the experiment's tag that holds the view."""

COLUMNS = "scenelift.columns"
"""Tag of a run: which of its metrics and tags are worth a column, as JSON. Its task says so."""
_FIRST = ("sweep_status", "epochs_done", "dataset")
_LAST = ("seed", "preset", "changed")
"""Tags of every run that are columns, before and after those of its task."""
_LOSS = "loss/total"
"""A column of every training."""
MOST_SETTINGS = 10
"""Settings that become columns, of those in which runs differ."""

_CURVES = ("loss/", "validation/")
"""Beginnings of metrics that change over a training: MLflow draws their curves by itself."""
_RUN_NAME = "attributes.`Run Name`"
_WIDTHS = {_RUN_NAME: 340, "dataset": 100, "protocol": 130, "preset": 120, "changed": 240}
"""Pixels of columns whose values are wider than their names."""


def view(runs: Sequence[Run]) -> str:
    """The value of `TAG` for an experiment with these runs."""
    return mlflow_internals.packed_view("Scenelift", state(runs))


def state(runs: Sequence[Run]) -> dict[str, Any]:
    """The page's state; what it leaves out is as MLflow has it, and columns that no run has are not shown."""
    metrics = {name for run in runs for name in run.data.metrics}
    settings, wanted = differing(runs), [*declared(runs, "metrics"), _LOSS]
    shown = [name for name in wanted if name in metrics]
    first = next(iter(shown), None)
    tags = dict.fromkeys([*_FIRST, *declared(runs, "tags"), *_LAST])
    columns = _columns("metrics", wanted) | _columns("tags", tags) | _columns("params", settings)
    sections, charts = _charts(metrics, shown, settings)
    return {
        "selectedColumns": list(columns),
        "columnOrder": [_RUN_NAME, *columns],
        "columnWidths": {_RUN_NAME: _WIDTHS[_RUN_NAME], **columns},
        "orderByKey": f"metrics.`{first}`" if first else "attributes.start_time",
        "orderByAsc": first is not None and first.startswith("loss/"),
        "compareRunSections": sections,
        "compareRunCharts": charts,
        "isAccordionReordered": True,  # or MLflow sorts the sections by name
    }


def declared(runs: Sequence[Run], kind: str) -> list[str]:
    """The columns that the runs declare for their metrics or tags, those of the first run first."""
    told = (json.loads(run.data.tags.get(COLUMNS, "{}")) for run in runs)
    return list(dict.fromkeys(name for columns in told for name in columns.get(kind, [])))


def differing(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Settings of which the runs have several values, and these; those with the most values first."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in build.settings(run.data.params).items():
            values.setdefault(key, set()).add(value)
    several = sorted((-len(said), key) for key, said in values.items() if len(said) > 1)
    return {key: values[key] for _, key in several[:MOST_SETTINGS]}


def _columns(kind: str, names: Iterable[str]) -> dict[str, int]:
    """MLflow's name of each column, and its width in pixels."""
    return {f"{kind}.`{name}`": _WIDTHS.get(name, 30 + 6 * len(name)) for name in names}


def _charts(
    metrics: Collection[str], shown: Sequence[str], settings: Mapping[str, Collection[str]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sections and their charts: scores as bars, curves, settings, and the IoU of classes as bars.

    shown: metrics that are columns, the one that runs are sorted by first.

    MLflow would draw a score, measured once, as a dot. It adds charts of all metrics that have none here, to the
    section of their name if there is one.
    """
    scores = [name for name in shown if not name.startswith(_CURVES)]
    classes = [f"{name.partition('/')[0]}/iou" for name in scores[:1]]
    charts = [_chart("BAR", "scores", name, metricKey=name) for name in scores]
    for name in sorted(metrics):
        if name.rpartition("/")[0] in classes:
            charts.append(_chart("BAR", classes[0], name, metricKey=name))
    # Of a setting that is a number in some runs only, the chart would silently leave out the others.
    axes = [key for key, values in settings.items() if len({_is_number(value) for value in values}) == 1]
    if axes and shown:
        lines = {"selectedParams": axes, "selectedMetrics": [shown[0]]}
        charts.append(_chart("PARALLEL", "settings", "settings and scores", **lines))
    groups = {"compareGroups": ["Parameters", "Tags"], "showDifferencesOnly": True}
    charts.append(_chart("DIFFERENCE", "settings", "differences", **groups))
    filled = {chart["metricSectionId"] for chart in charts} | {name.rpartition("/")[0] for name in metrics}
    wanted = ("scores", "validation", "loss", "settings", *classes)
    return [_section(name) for name in wanted if name in filled], charts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chart(kind: str, section: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "uuid": f"{kind} {name}",
        "type": kind,
        "metricSectionId": section,
        "displayName": name,
        "runsCountToCompare": 10,
        **more,
    }


def _section(name: str) -> dict[str, Any]:
    columns = 1 if name == "settings" else 3
    return {"uuid": name, "name": name, "display": True, "columns": columns}
