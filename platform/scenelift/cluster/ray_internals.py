"""Every use of private modules, attributes, names and undocumented variables of Ray.

An upgrade of Ray: run `pytest -m internals`, mend what fails here, then change `TESTED_RAY`. Each use says what
upstream would make it needless. Ray is imported inside the functions, as some variables count only before that.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import DataContext, ReadTask
    from ray.data.collate_fn import CollateFn
    from ray.train.torch import TorchConfig
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import PopulationBasedTraining

TESTED_RAY = "2.60.0"

ENVIRONMENT = {
    # The second generation of readers takes seconds an epoch and does not keep the order of rows.
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_TQDM": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Seconds that every train.report() waits for the controller; 2 by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Processes that read are let go after a second without work, and take seconds to start again.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    # Workers run at nice 15 by default and starve beside anything else on the machine.
    "RAY_worker_niceness": "0",
}
"""Undocumented variables, read when Ray is imported or started. To ask for upstream: documented ones."""


# Connecting


def keep_driver_environment() -> None:
    """Let `ray.init` in a submitted job take a runtime_env. A job's own env_vars would conflict with ours; ours
    hold them, as they come from its environment. To ask for upstream: a documented name for
    RAY_OVERRIDE_JOB_RUNTIME_ENV."""
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"


def running_address() -> str:
    """HOST:PORT of the Ray that "auto" means; ConnectionError if none was started on this machine. `ray.init`
    itself waits for minutes for one that has ended. To ask for upstream: a public name for it."""
    from ray._private.services import find_bootstrap_address, find_gcs_addresses

    found = find_bootstrap_address(None) or next(iter(find_gcs_addresses()), None)
    if found is None:
        raise ConnectionError("none is running here; unset RAY_ADDRESS to start one, or give HOST:PORT")
    return found


def forget_preemption() -> None:
    """Start no watcher for a notice that the machine will be taken away, which a workstation never gives."""
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


LOOPBACK = "127.0.0.1"


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that is started inside the `with` listens on the loopback interface alone, as it does on a Mac, in
    all of its processes. `ray.init(_node_ip_address="127.0.0.1")` is turned into the machine's address. To ask
    for upstream: an option of `ray.init`."""
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    given = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False  # for processes to come, and for this one
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if given is None:
            del os.environ[name]
        else:
            os.environ[name] = given


def torch_config() -> TorchConfig:
    """How the workers of a training find each other. Where Ray listens on loopback alone, they do too: they meet
    in a file, since torch's server listens on all interfaces and asks for no password. To ask for upstream: other
    URLs as the `init_method` of a TorchConfig."""
    import ray
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import (
        _set_torch_distributed_env_vars,
        _setup_torch_process_group,
        _TorchBackend,
    )

    if any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
        return TorchConfig()

    class InFile(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
            self.folder = tempfile.mkdtemp(prefix="scenelift-")  # a retry needs a new file
            gpus, workers = worker_group.get_resources_per_worker().get("GPU", 0), len(worker_group)
            worker_group.execute(os.environ.update, _interfaces())
            worker_group.execute(_set_torch_distributed_env_vars)
            group = {
                "backend": "nccl" if gpus else "gloo",
                "world_size": workers,
                "init_method": f"file://{self.folder}/group",
                "timeout_s": backend_config.timeout_s,
            }
            ray.get(
                [
                    worker_group.execute_single_async(
                        rank, _setup_torch_process_group, world_rank=rank, **group
                    )
                    for rank in range(workers)
                ]
            )

        def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
            super().on_shutdown(worker_group, backend_config)
            shutil.rmtree(self.folder, ignore_errors=True)

    class InFileConfig(TorchConfig):
        @property
        def backend_cls(self) -> type[InFile]:
            return InFile

    return InFileConfig()


def _interfaces() -> dict[str, str]:
    """Variables by which gloo and NCCL use the loopback interface."""
    interfaces = psutil.net_if_addrs().items()
    name = next(name for name, found in interfaces if LOOPBACK in [each.address for each in found])
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}


def know_address() -> None:
    """Tell a worker's process which Ray it belongs to (a worker_process_setup_hook). Ray Train frees the places
    of a killed training once the State API says that its controller is dead
    (github.com/ray-project/ray/pull/58515); without an address that API searches the machine, and gives up
    where it finds a second Ray. To file: it should ask the Ray of its process."""
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


# What a cluster holds


def most_free() -> float:
    """The most CPUs that a single machine has left. To ask for upstream: `ray.nodes()` with what is free."""
    from ray._private.state import available_resources_per_node

    return max((float(left.get("CPU", 0)) for left in available_resources_per_node().values()), default=0.0)


def spilled() -> int:
    """Bytes that the object stores of all machines have moved to disk since this Ray began."""
    return int(_store_stats().spilled_bytes_total)


def object_store() -> int:
    """Bytes that the object stores of all machines hold."""
    return int(_store_stats().object_store_bytes_used)


def _store_stats() -> Any:
    """What `ray memory --stats-only` prints. To ask for upstream: the same from Python."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return get_memory_info_reply(state).store_stats


def training_processes(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Workers of Ray Train below some processes, told by the title that Ray gives to an actor's process."""
    below = [child for root in roots for child in root.children(recursive=True)]
    return [process for process in below if "RayTrainWorker" in " ".join(process.cmdline())]


@contextmanager
def reserve_data_cpus(cpus: float) -> Iterator[None]:
    """Inside the `with`, elastic trainings leave so many CPUs for reading. Such a training takes the CPUs of
    all machines, and without one reading and training wait for each other forever. It shares them with all who
    request some from the same actor of Ray. To ask for upstream: a public way to that actor, or a ScalingConfig
    that leaves CPUs to a dataset of a worker."""
    import ray
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


# Ray Data

PAUSE = 0.05
"""Seconds; a block that is ready may lie as long."""


def pace(context: DataContext) -> None:
    """Pause the scheduling loop of this context's datasets in each round. It waits for running tasks; where
    none runs and none may start, for want of a CPU or of room, it spins in a thread of the training process. To
    file: a pause in that case (the loop is described in github.com/ray-project/ray/pull/65152)."""
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    class Pacing(ExecutionCallback):
        def on_execution_step(self, executor: Any) -> None:
            time.sleep(PAUSE)

    context.custom_execution_callback_classes = [Pacing]


def read_task(read: Callable[[], Iterable[pa.Table]], rows: int, size: int) -> ReadTask:
    """A task of a Datasource that reads so many rows and bytes. Ray's developer API: BlockMetadata changes
    often."""
    from ray.data import ReadTask
    from ray.data.block import BlockMetadata

    return ReadTask(read, BlockMetadata(num_rows=rows, size_bytes=size, input_files=None, exec_stats=None))


def arrow_collate(collate: Callable[[pa.Table], Any]) -> CollateFn[pa.Table]:
    """A collate function that gets Arrow tables instead of NumPy arrays, for `iter_torch_batches`. Developer
    API."""
    from ray.data.collate_fn import ArrowBatchCollateFn

    class Collate(ArrowBatchCollateFn):
        def __call__(self, batch: pa.Table) -> Any:
            return collate(batch)

    return Collate()


# Ray Train under Ray Tune

EVERY = 10.0
"""Seconds between two looks for groups that nothing uses."""
IDLE = 60.0
"""Seconds without a worker after which a group is given back; workers of a new one take seconds to start."""


class Leftovers:
    """Frees placement groups that Ray Train leaves behind when a trial is stopped, and that would keep their
    CPUs. Tune kills the process of the trial. Ray Train may see its workers die first and request new ones
    while it is being killed itself: nobody knows of that group, not even the cleaner of
    github.com/ray-project/ray/pull/58515. To file: register a group before it is requested."""

    def __init__(self, cpus: float) -> None:
        """cpus: of each worker of a training, which tells its groups from those of Tune."""
        self.cpus = cpus
        self._due = 0.0
        self._since: dict[str, float] = {}

    def free(self) -> None:
        """Look, now and then, and remove the groups that have been idle for too long."""
        import ray
        from ray.util.placement_group import PlacementGroup, remove_placement_group

        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY
        self._since = {group: self._since.get(group, now) for group in self._idle()}
        for group, since in self._since.items():
            if now - since >= IDLE:
                remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))

    def _idle(self) -> Iterator[str]:
        """Groups of this job's trainings in which no worker has its CPUs, by two names that Ray forms: a
        group's ends in its job's, and what is free of its CPUs is the resource CPU_group_<its name>."""
        import ray
        from ray.util.placement_group import placement_group_table

        job, free = ray.get_runtime_context().get_job_id(), ray.available_resources()
        for group, what in placement_group_table().items():
            cpus = [bundle.get("CPU") for bundle in what["bundles"].values()]
            ours = group.endswith(job) and set(cpus) == {self.cpus}
            if ours and what["state"] == "CREATED" and free.get(f"CPU_group_{group}", 0.0) >= sum(cpus):
                yield group


# Population based training waits at each milestone for every trial, for one that failed too
# (github.com/ray-project/ray/issues/12122): its own record of who has come how far is changed here.


def arrived(scheduler: PopulationBasedTraining, trial: Trial) -> bool:
    """Whether a trial waits at the milestone where all others are expected."""
    return bool(scheduler._trial_state[trial].last_train_time >= scheduler._next_perturbation_sync)


def count_as_arrived(scheduler: PopulationBasedTraining, trial: Trial, milestone: int) -> None:
    """Wait for this trial no more at a milestone."""
    state = scheduler._trial_state[trial]
    state.last_train_time = max(state.last_train_time, milestone)


def pass_milestone(scheduler: PopulationBasedTraining) -> None:
    """Let all trials go on that wait, without an exchange."""
    scheduler._next_perturbation_sync += scheduler._perturbation_interval
