"""Connecting to Ray: `connect` is the only caller of `ray.init`."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scenelift.cluster import ray_internals
from scenelift.cluster.resources import GROWS_TO, SWEEP, local_cpus
from scenelift.errors import ClusterError, SceneliftError, first_line
from scenelift.io.console import warn_if_untested
from scenelift.io.interrupts import Terminated, own_handlers

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_COLOR_PREFIX": "0",
    # Progress bars and plans of Ray Data: our commands show their own.
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Seconds between two states of a sweep on disk: what a killed one goes on from.
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    **ray_internals.ENVIRONMENT,
}
"""Defaults of environment variables of Ray in every process."""

for _name, _value in ENVIRONMENT.items():  # Ray reads some of them when it is imported
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

_PASSED_ON = (
    GROWS_TO,
    "GOMP_SPINCOUNT",
    "MLFLOW_TRACKING_URI",
    "OMP_WAIT_POLICY",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
)
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
)
"""Credentials of buckets and the tracking server, for workers on other machines."""
_OBJECT_STORE = 1 << 30
"""Bytes of shared memory of a local Ray: 60 blocks of the reader, instead of a third of the machine."""
_SOURCES = Path(__file__).resolve().parents[2]


@contextmanager
def connect(address: str | None = None, *, dashboard: bool = False) -> Iterator[None]:
    """Connected to Ray inside the `with`; inside another `connect` it does nothing.

    address: an existing cluster, HOST:PORT or "auto", RAY_ADDRESS by default; "local": a new Ray on this machine,
    also where there is no address, which is stopped at the end. dashboard: start the State API too; sweeps that
    stop trials early leak resources without it. Raises ClusterError if the cluster does not answer.
    """
    if ray.is_initialized():
        yield
        return
    warn_if_untested("Ray", version("ray"), ray_internals.TESTED_RAY)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "auto":
            address = ray_internals.running_address()
        with own_handlers():  # Ray ends the process at SIGTERM
            if address == "local":
                _start(dashboard, quiet)
            else:
                _attach(address, quiet)
    except SystemExit:  # what Ray makes of SIGTERM while it starts
        raise Terminated from None
    except Exception as error:  # a bare one where a process of Ray's does not come up in time
        busy = "; if the machine is busy, run the command again" if "timed out" in str(error) else ""
        raise ClusterError(f"no Ray at {address}: {first_line(error)}{busy}") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray Data logs the traceback of every exception before it raises it.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def _start(dashboard: bool, options: dict[str, Any]) -> None:
    # Ray closes its ports with a token, and would write a new one to ~/.ray, where it changes how every later
    # `ray start` and `ray job submit` on this machine behave: this Ray's token is in memory only.
    if not (Path.home() / ".ray" / "auth_token").exists() and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray_internals.forget_preemption()
    with ray_internals.on_loopback():
        ray.init(
            address="local",
            num_cpus=local_cpus(),
            object_store_memory=_OBJECT_STORE,
            resources={SWEEP: 1.0},
            include_dashboard=dashboard,
            runtime_env={
                "env_vars": worker_environment(),
                "worker_process_setup_hook": f"{ray_internals.__name__}.{ray_internals.know_address.__name__}",
            },
            **options,
        )


def _attach(address: str, options: dict[str, Any]) -> None:
    host, _, port = address.rpartition(":")
    if port.isdigit():  # else Ray itself would try for a quarter of an hour
        socket.create_connection((host, int(port)), timeout=10).close()
    # Ray would look for a Ray that listens on loopback alone, as one of ours does, at the machine's own address.
    hidden = host in ("localhost", ray_internals.LOOPBACK) and not _answers(
        ray.util.get_node_ip_address(), port
    )
    ray_internals.keep_driver_environment()
    env_vars = worker_environment() | _set(_CREDENTIALS)
    with ray_internals.on_loopback() if hidden else nullcontext():
        ray.init(address=address, runtime_env={"env_vars": env_vars}, **options)


def _answers(host: str, port: str) -> bool:
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def user_errors() -> Iterator[None]:
    """Raises user errors of tasks and actors without Ray's wrapping, and Ray's failures as ClusterErrors."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SceneliftError):
            # Ray Data adds lines of advice to the message.
            raise type(error.cause)(first_line(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split("\n")[:2])  # it may be in the second line
        raise ClusterError(f"Ray lost a task: {reason}; run the command again") from error


def worker_environment() -> dict[str, str]:
    """Environment variables of every worker: where the code is, and settings of the driver. On other machines
    only the relative folder exists: there a worker of a submitted job starts in the unpacked working directory."""
    root = _SOURCES.parent
    folders = [str(_SOURCES), *([str(root)] if (root / "trainables").is_dir() else []), "platform"]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders += [folder for folder in known if folder and folder not in folders]
    return {"PYTHONPATH": os.pathsep.join(folders), **_set((*ENVIRONMENT, *_PASSED_ON))}


def _set(names: Iterable[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
