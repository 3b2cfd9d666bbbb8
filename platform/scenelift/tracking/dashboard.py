"""MLflow's pages of all runs: each experiment opens with the columns and charts that its runs are compared by.

`make dashboard`, or with `PYTHONPATH=platform`: `python -m scenelift.tracking.dashboard [--port 5000]`
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from scenelift.config.cli import command
from scenelift.errors import ClusterError, TrackingError
from scenelift.tracking import dashboard_view, mlflow_internals, store
from scenelift.tracking.config import PRESETS, DashboardConfig

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
    address = store.public(uri).rstrip("/") if remote else f"http://{HOST}:{config.port}"
    links = [f"{name:<24} {address}/{page}" for name, page in prepare(uri).items()]
    if not links:
        raise TrackingError(
            f"no runs are recorded at {store.public(uri)}; make some: python -m trainables.distill"
        )
    said = f"The runs are on {address} already:" if remote else "Ready in some seconds; Ctrl-C stops it:"
    print("\n".join((said, *links)), flush=True)
    if not remote:
        _serve(uri, config.port)


def prepare(uri: str) -> dict[str, str]:
    """Give every experiment with runs of ours its view; returns the experiments' names and their pages."""
    from mlflow import MlflowClient

    pages: dict[str, str] = {}
    with store.errors(uri, "preparing the dashboard"), store.one_at_a_time(uri):
        client = MlflowClient(uri)
        for found in client.search_experiments(order_by=["name ASC"]):
            key = found.experiment_id
            # A server may hold experiments of others.
            runs = client.search_runs([key], "tags.trainable LIKE '%'", max_results=LOOKED_AT)
            if runs:
                client.set_experiment_tag(key, dashboard_view.TAG, dashboard_view.view(runs))
                pages[found.name] = mlflow_internals.view_page(key, dashboard_view.KEY)
    return pages


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server has it
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ClusterError(
                f"port {port} is not free: {error}; choose another: make dashboard PORT=5001"
            ) from None


def _serve(uri: str, port: int) -> None:
    """Become MLflow's server."""
    # Below "critical" uvicorn prints a traceback when it is stopped by Ctrl-C.
    options = [
        "--workers",
        "1",
        "--host",
        HOST,
        "--port",
        str(port),
        "--uvicorn-opts",
        "--log-level critical",
    ]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # may hold a password, which a command line would show
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "server", *options], os.environ | environment)


if __name__ == "__main__":
    command("scenelift.tracking.dashboard", PRESETS)
