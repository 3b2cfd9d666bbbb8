"""Every use of private parts of MLflow: attributes, utilities, the state of its pages. An upgrade: run `pytest
-m internals`, open the dashboard in a browser, mend what fails here, then change `TESTED_MLFLOW`."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

TESTED_MLFLOW = "3.17"


def last_points(run: Run) -> Sequence[Metric]:
    """The last point of each metric, with its step. To ask for upstream: a public attribute of RunData."""
    return run.data._metric_objs


def server_status(uri: str, timeout: float) -> int:
    """HTTP status of an MLflow server, asked once with the client's credentials; MlflowException if it does not
    answer. Public calls retry for minutes. To ask for upstream: a client with its own retries and timeout."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    call = "/api/2.0/mlflow/experiments/search"
    options = {"max_retries": 0, "timeout": timeout, "raise_on_status": False, "json": {"max_results": 1}}
    return int(http_request(get_default_host_creds(uri), call, "POST", **options).status_code)


def system_monitor(uri: str, run_id: str, interval: float, resumed: bool) -> SystemMetricsMonitor:
    """A thread that records CPU, memory, disk, network and GPU with a run, every `interval` seconds. MLflow
    starts it for the global active run only, which we have not. To ask for upstream: a public class."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    return SystemMetricsMonitor(run_id, sampling_interval=interval, resume_logging=resumed, tracking_uri=uri)


def view_tag(key: str) -> str:
    """Name of the experiment's tag in which MLflow's page keeps the view `key`. To ask for upstream: columns
    and charts of an experiment by its API; this and the two functions below are how the page itself does it."""
    return f"mlflow.sharedViewState.{key}"


def packed_view(name: str, state: Mapping[str, Any]) -> str:
    """The value of that tag: the state of the page in an envelope, compressed: older servers take 5000
    characters."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def view_page(experiment: str, key: str) -> str:
    """Where MLflow shows an experiment's runs by that view, behind the address of its server."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={key}"
