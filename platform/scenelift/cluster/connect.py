"""The door to Ray: `connect` is the only caller of `ray.init`, and `require` says what fits the machine."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scenelift.cluster.fit import GROWS_TO, cores, fit, local_cpus, require_fit
from scenelift.errors import ClusterError, SceneliftError

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_COLOR_PREFIX": "0",
    # Progress bars and plans of Ray Data: our commands show their own.
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # The second generation of readers takes seconds an epoch and does not keep the order of rows.
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_TQDM": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Seconds that every train.report() waits for the controller; 2 by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Processes that read are let go after a second without work, and take seconds to start again.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    # Workers run at nice 15 by default and starve beside anything else on the machine.
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Seconds between two states of a sweep on disk: what a killed one goes on from.
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
}
"""What the project wants of Ray and MLflow in every process; a variable that the user set wins."""

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
"""What opens buckets and the tracking server; a Ray of this machine's own inherits it."""
_OBJECT_STORE = 1 << 30
"""Bytes of shared memory of a local Ray: 60 blocks of the reader, instead of a third of the machine."""
SWEEP = "sweep"
"""A resource of the head that a population's trials share, so that no more of them run at once than fit."""
_SOURCES = Path(__file__).resolve().parents[2]


@contextmanager
def connect(address: str | None = None, *, dashboard: bool = False, verbose: bool = False) -> Iterator[None]:
    """Connected to Ray inside the `with`; inside another `connect` it does nothing.

    Without an address (argument or RAY_ADDRESS, which a submitted job has) it starts a Ray of its own on
    this machine and stops it at the end; a cluster that was there before is only left.

    Args:
        address: an existing cluster, HOST:PORT or "auto"; "local": a new one on this machine.
        dashboard: start the State API too; sweeps that stop trials early leak resources without it.
        verbose: show what the workers print.

    Raises ClusterError if the cluster does not answer.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
    try:
        if address == "local":
            _start(dashboard, quiet)
        else:
            _attach(address, quiet)
    except Exception as error:  # a bare one where a process of Ray's does not come up in time
        busy = "; if the machine is busy, run the command again" if "timed out" in str(error) else ""
        raise ClusterError(f"no Ray at {address}: {_first_line(error)}{busy}") from error
    logging.getLogger("ray").setLevel(logging.INFO if verbose else logging.ERROR)
    # Ray Data logs the traceback of every exception before it raises it.
    logging.getLogger("ray.data").setLevel(logging.INFO if verbose else logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def _start(dashboard: bool, options: dict[str, Any]) -> None:
    _own_token()
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # this machine gives no notice
    ray.init(
        address="local",
        num_cpus=local_cpus(),
        object_store_memory=_OBJECT_STORE,
        resources={SWEEP: 1.0},
        include_dashboard=dashboard,
        runtime_env={
            "env_vars": worker_environment(),
            "worker_process_setup_hook": f"{__name__}.{know_address.__name__}",
        },
        **options,
    )


def know_address() -> None:
    """Tell a worker's process which Ray it belongs to.

    Ray Train frees the places of a killed training once Ray's State API says that its controller is dead; in
    a process without an address that API searches the machine, and gives up where it finds a second Ray.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def _own_token() -> None:
    """A token for this Ray alone, in memory.

    Ray closes its ports with a token, and would write a new one to ~/.ray, where it changes how every later
    `ray start` and `ray job submit` on this machine behave.
    """
    if not (Path.home() / ".ray" / "auth_token").exists() and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _attach(address: str, options: dict[str, Any]) -> None:
    host, _, port = address.rpartition(":")
    if port.isdigit():  # else Ray itself would try for a quarter of an hour
        socket.create_connection((host, int(port)), timeout=10).close()
    # A job's own env_vars would conflict with ours; ours hold them, as they come from its environment.
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    env_vars = worker_environment() | _set(_CREDENTIALS)
    ray.init(address=address, runtime_env={"env_vars": env_vars}, **options)


@contextmanager
def user_errors() -> Iterator[None]:
    """Raises a user's mistake that a task or an actor met as it was raised there, without Ray's wrapping.

    What Ray itself gives up on becomes a ClusterError; a fault in our code keeps its traceback.
    """
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SceneliftError):
            # Ray Data adds lines of advice to the message.
            raise type(error.cause)(_first_line(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split("\n")[:2])  # the second line is the reason, where there is one
        raise ClusterError(f"Ray lost a task: {said}; run the command again") from error


def worker_environment() -> dict[str, str]:
    """Variables of every worker, on whichever machine: where the code is, and what the driver was told.

    On another machine the absolute folders are missing and the relative one is found: there a worker of a
    submitted job starts in the unpacked working directory.
    """
    root = _SOURCES.parent
    folders = [str(_SOURCES), *([str(root)] if (root / "trainables").is_dir() else []), "platform"]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders += [folder for folder in known if folder and folder not in folders]
    return {"PYTHONPATH": os.pathsep.join(folders), **_set((*ENVIRONMENT, *_PASSED_ON))}


def _set(names: Iterable[str]) -> dict[str, str]:
    """Those of the variables that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def task_cpus() -> float:
    """Logical CPUs that a task with work for a whole core asks for: on a small machine Ray has more
    logical CPUs than there are cores (see `connect`)."""
    nodes = _nodes()
    return max(1.0, nodes[0]["CPU"] / cores()) if len(nodes) == 1 and nodes[0].get("CPU") else 1.0


def worker_cpus(workers: int, gpus_per_worker: float = 0, data_cpus: float = 1) -> float:
    """CPUs for each of `workers` training workers, such that reading keeps `data_cpus`.

    As many whole ones as can be placed, on one machine never more than there are cores; 0.5 where one each
    is too much. Ray Train gives a worker as many threads.
    """
    nodes = _nodes()
    most = int(max(node.get("CPU", 0) for node in nodes))
    if len(nodes) == 1:
        most = max(1, min(most, cores() // workers))
    for cpus in range(most, 0, -1):
        if fit(nodes, cpus, gpus_per_worker, data_cpus) >= workers:
            return float(cpus)
    return 0.5


def side_by_side(
    workers: int, cpus: float | None, gpus_per_worker: float, data_cpus: float, most: int
) -> tuple[int, float]:
    """How many trainings, `most` at most, fit at the same time, and the CPUs of each of their workers.

    Each needs `workers` workers and `data_cpus` for reading. cpus: of a worker; None: as many whole ones as
    leave the number of trainings as it is, on one machine never more than it has cores.
    """
    nodes = _nodes()
    held = cores() if len(nodes) == 1 else int(sum(node.get("CPU", 0) for node in nodes))
    for trainings in range(most, 0, -1):
        share = held // (trainings * workers)
        for each in [cpus] if cpus else range(share, 0, -1) if share else [0.5] * (trainings == 1):
            if fit(nodes, each, gpus_per_worker, trainings * data_cpus) >= trainings * workers:
                return trainings, float(each)
    return 0, cpus or 1.0


def require(
    workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float = 0,
    data_cpus: float = 1,
    option: str = "scale.workers",
) -> None:
    """Raise ClusterError if `workers` cannot all be placed while `data_cpus` stay free for reading data.

    Without this check Ray waits for the missing resources forever. A cluster that grows by itself is
    judged by what it may grow to. option: what the message tells the user to lower.
    """
    require_fit(_nodes(), workers, cpus_per_worker, gpus_per_worker, data_cpus, option)


def places(cpus: float, gpus: float = 0, data_cpus: float = 1) -> int:
    """How many workers of these CPUs and GPUs have a place while `data_cpus` stay free for reading."""
    return fit(_nodes(), cpus, gpus, data_cpus)


@contextmanager
def reserve_data_cpus(cpus: float) -> Iterator[None]:
    """Inside the `with`, trainings that take as many workers as they find leave so many CPUs for reading.

    Such a training counts the CPUs of all machines, and with the last one gone reading and training wait for each
    other forever. It shares them out with whoever asks the same actor of Ray for some, the first one first; Ray
    has no public door to it.
    """
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        ResourceRequestPriority,
        get_or_create_autoscaling_coordinator,
    )

    coordinator, name = get_or_create_autoscaling_coordinator(), f"reading-{secrets.token_hex(4)}"

    def ask() -> Any:
        return coordinator.request_resources.remote(
            requester_id=name,
            resources=[{"CPU": cpus}],
            expire_after_s=180,
            priority=ResourceRequestPriority.HIGH,
        )

    def ask_again() -> None:
        while not over.wait(60):
            ask()

    ray.get(ask())
    over = threading.Event()
    threading.Thread(target=ask_again, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with suppress(ray.exceptions.RayError):
            ray.get(coordinator.cancel_request.remote(name))


def most_free(kind: str = "CPU") -> float:
    """How much of a resource the machine has left that has most of it left."""
    from ray._private.state import available_resources_per_node

    return max((float(left.get(kind, 0)) for left in available_resources_per_node().values()), default=0.0)


def spilled() -> int:
    """Bytes that the object stores of all machines have moved to disk since this Ray began."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return int(get_memory_info_reply(state).store_stats.spilled_bytes_total)


def total(kind: str) -> float:
    """CPUs, GPUs or another resource of all machines; of a cluster that grows by itself, once it has grown."""
    return sum(node.get(kind, 0) for node in _nodes())


def _nodes() -> list[dict[str, float]]:
    """Resources of each machine; of a cluster that grows by itself, of each that it may have."""
    groups = json.loads(os.environ.get(GROWS_TO, "[]"))
    if not groups:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [group for group in groups for _ in range(group["machines"])]
