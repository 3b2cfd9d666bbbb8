"""MLflow's pages of all runs: each experiment opens with the columns and charts that its runs are compared by.
`make dashboard`, or with `PYTHONPATH=platform`: `python -m scenelift.tracking.dashboard [--port 5000]`"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenelift.config import build
from scenelift.config.cli import command
from scenelift.errors import ClusterError, TrackingError
from scenelift.io.secrets import HIDDEN, address
from scenelift.tracking import mlflow_internals, store
from scenelift.tracking.config import PRESETS, DashboardConfig

if TYPE_CHECKING:
    from mlflow.entities import Run

HOST = "127.0.0.1"
LOOKED_AT = 200
"""Newest runs of an experiment that decide what its page shows."""


def run(config: DashboardConfig) -> None:
    """Prepare the pages, print their links, and serve them until interrupted."""
    store.quiet()
    uri = store.resolve(config.uri, Path(config.runs))
    store.require(uri)
    remote = uri.startswith("http")
    if not remote:
        _require_free(config.port)
    # Without a mark for what was left out, so that it can be clicked.
    shown = address(uri).replace(f"{HIDDEN}@", "").rstrip("/") if remote else f"http://{HOST}:{config.port}"
    links = [f"{name:<24} {shown}/{page}" for name, page in prepare(uri).items()]
    if not links:
        raise TrackingError(
            f"no runs are recorded at {address(uri)}; make some: python -m trainables.distill"
        )
    head = f"The runs are on {shown} already:" if remote else "Ready in some seconds; Ctrl-C stops it:"
    print("\n".join((head, *links)), flush=True)
    if not remote:
        _serve(uri, config.port)


def prepare(uri: str) -> dict[str, str]:
    """Give every experiment with runs of ours its view; returns the experiments' names and their pages."""
    from mlflow import MlflowClient

    pages: dict[str, str] = {}
    with store.errors(uri, "preparing the dashboard"), store.one_at_a_time(uri):
        client = MlflowClient(uri)
        for experiment in client.search_experiments(order_by=["name ASC"]):
            key = experiment.experiment_id
            # A server may hold experiments of others.
            runs = client.search_runs([key], "tags.trainable LIKE '%'", max_results=LOOKED_AT)
            if runs:
                client.set_experiment_tag(key, TAG, view(runs))
                pages[experiment.name] = mlflow_internals.view_page(key, KEY)
    return pages


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server has it
        try:
            probe.bind((HOST, port))
        except OSError as error:
            advice = "choose another: make dashboard PORT=5001"
            raise ClusterError(f"port {port} is not free: {error}; {advice}") from None


def _serve(uri: str, port: int) -> None:
    # Below "critical" uvicorn prints a traceback when it is stopped by Ctrl-C.
    options = [*f"--workers 1 --host {HOST} --port {port} --uvicorn-opts".split(), "--log-level critical"]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # may hold a password, which a command line would show
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "server", *options], os.environ | environment)


if __name__ == "__main__":
    command("scenelift.tracking.dashboard", PRESETS)

KEY = "scenelift"
"""Name of the view in addresses."""
TAG = mlflow_internals.view_tag(KEY)
"""Name of the experiment's tag that holds the view."""

COLUMNS = "scenelift.columns"
"""Tag of a run: its metrics and tags that become columns, as JSON."""
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
_WIDTHS = {_RUN_NAME: 340, "dataset": 170, "protocol": 130, "preset": 120, "changed": 240}
"""Pixels of columns whose values are wider than their names."""


def view(runs: Sequence[Run]) -> str:
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
    declared = (json.loads(run.data.tags.get(COLUMNS, "{}")) for run in runs)
    return list(dict.fromkeys(name for columns in declared for name in columns.get(kind, [])))


def differing(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Settings of which the runs have several values, and these; those with the most values first."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in build.settings(run.data.params).items():
            values.setdefault(key, set()).add(value)
    several = sorted((-len(each), key) for key, each in values.items() if len(each) > 1)
    return {key: values[key] for _, key in several[:MOST_SETTINGS]}


def _columns(kind: str, names: Iterable[str]) -> dict[str, int]:
    """MLflow's name of each column, and its width in pixels."""
    return {f"{kind}.`{name}`": _WIDTHS.get(name, 30 + 6 * len(name)) for name in names}


def _charts(
    metrics: Collection[str], shown: Sequence[str], settings: Mapping[str, Collection[str]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sections and their charts: scores as bars, curves, settings, and the IoU of classes as bars. shown:
    metrics that are columns, the one for sorting first. MLflow would draw a score, measured once, as a dot. It
    adds the other metrics' charts to the sections of their names."""
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
    sections = [
        {"uuid": name, "name": name, "display": True, "columns": 1 if name == "settings" else 3}
        for name in wanted
        if name in filled
    ]
    return sections, charts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chart(kind: str, section: str, name: str, **more: Any) -> dict[str, Any]:
    chart = {"uuid": f"{kind} {name}", "type": kind, "metricSectionId": section, "displayName": name}
    return {**chart, "runsCountToCompare": 10, **more}
