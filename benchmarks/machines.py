"""Several machines on this one: a Ray of a head without CPUs, and nodes that come and go."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster
from ray.job_submission import JobSubmissionClient

from scenelift.cluster.ray_internals import training_processes

REPOSITORY = Path(__file__).resolve().parents[1]
_STORE = 256 << 20
"""Bytes of a node's object store."""


class Machines:
    """They have this Python and its packages, and not the library: that comes with a job, or from its driver."""

    def __init__(self, count: int) -> None:
        self.folders: list[str] = []
        self.nodes: list[Any] = []
        self.port = _free_port()
        # Given, since otherwise Ray takes the address of a Ray that this process has: the loopback interface's.
        self.ip = _own_address()
        with self._bare():
            self.cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "node_ip_address": self.ip,
                    "num_cpus": 0,
                    "include_dashboard": True,
                    "dashboard_port": self.port,
                    "dashboard_agent_listen_port": _free_port(),  # the default may be another Ray's
                    "object_store_memory": _STORE,
                    "temp_dir": self._folder(),
                    "_system_config": {"health_check_period_ms": 1000, "health_check_failure_threshold": 5},
                },
            )
        # As `ray start` does: without it a job takes any Ray of this machine for its own.
        Path(self.folders[0], "ray_current_cluster").write_text(self.address)
        for _ in range(count):
            self.add()
        self.cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        """What RAY_ADDRESS takes."""
        return str(self.cluster.address)

    @contextmanager
    def _bare(self) -> Iterator[None]:
        """Processes that start inside the `with` find the packages, and no source of ours."""
        before = dict(os.environ)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        os.environ.pop("PYTHONPATH", None)
        try:
            with contextlib.chdir("/"):
                yield
        finally:
            os.environ.update(before)

    def _folder(self) -> str:
        """A machine's own files: Ray unpacks jobs there. The path is short, as sockets lie in it."""
        self.folders.append(tempfile.mkdtemp(prefix="node"))
        return self.folders[-1]

    def add(self) -> None:
        """Another machine, of two CPUs."""
        with self._bare():
            node = self.cluster.add_node(
                node_ip_address=self.ip, num_cpus=2, object_store_memory=_STORE, temp_dir=self._folder()
            )
        self.nodes.append(node)

    def workers(self, node: Any = None) -> list[psutil.Process]:
        """Processes that train, on one machine or on all."""
        raylets = [
            raylet for one in ([node] if node else self.nodes) for raylet in one.all_processes["raylet"]
        ]
        return training_processes(psutil.Process(one.process.pid) for one in raylets)

    def lose_one_that_trains(self) -> None:
        """Take a machine away, with all that runs on it."""
        node = next(node for node in self.nodes if self.workers(node))
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def submit(self, *command: str) -> subprocess.Popen[str]:
        """Send the working tree with a command, as the README says; the process ends as the job does."""
        self._wait_until_jobs_are_taken()
        ray, url = str(Path(sys.executable).with_name("ray")), f"http://127.0.0.1:{self.port}"
        return subprocess.Popen(
            [ray, "job", "submit", "--address", url, "--working-dir", ".", "--", *command],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _wait_until_jobs_are_taken(self, seconds: float = 60) -> None:
        """Some seconds after a head is there, its agent is too."""
        end = time.monotonic() + seconds
        while True:
            try:
                JobSubmissionClient(f"http://127.0.0.1:{self.port}").submit_job(entrypoint="true")
                return
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def close(self) -> None:
        """End them all."""
        self.cluster.shutdown()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def _own_address() -> str:
    """This machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # an address for examples: any will do that is not here
        except OSError:  # no network
            return "127.0.0.1"
        return str(asked.getsockname()[0])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
