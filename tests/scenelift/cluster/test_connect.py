"""Protects the door to Ray: workers find the code, and mistakes arrive as they were raised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from scenelift.cluster import connect as cluster
from scenelift.errors import ClusterError, DataError
from scenelift.io.interrupts import Terminated

pytestmark = pytest.mark.ray

_ATTACH = """
import ray
from scenelift.cluster.connect import connect

@ray.remote
def where():
    import os, datasets, scenelift
    return scenelift.__file__, os.environ["RAY_CHDIR_TO_TRIAL_DIR"]

with connect():
    print(*ray.get(where.remote()))
assert not ray.is_initialized()
"""


def test_connect_inside_a_connection_changes_nothing(ray_session: None) -> None:
    before = ray.get_runtime_context().job_id
    with cluster.connect():
        assert ray.get_runtime_context().job_id == before
    assert ray.is_initialized()


def test_workers_find_the_code_from_any_folder(ray_session: None) -> None:
    """Ray Train moves its workers to a folder of its own, so relative paths are not enough."""

    def found() -> str:
        os.chdir("/")
        import scenelift.samples.vocabulary
        import trainables

        return trainables.__name__ + scenelift.samples.vocabulary.__name__

    assert ray.get(ray.remote(found).remote()) == "trainablesscenelift.samples.vocabulary"


def test_existing_cluster_is_joined_and_left_running(ray_session: None, tmp_path: Path) -> None:
    """A process elsewhere joins the Ray of this test by RAY_ADDRESS, as a submitted job does."""
    address = ray.get_runtime_context().gcs_address
    environment = os.environ | {"RAY_ADDRESS": address, "PYTHONPATH": str(Path(cluster.__file__).parents[2])}
    said = subprocess.run(
        [sys.executable, "-c", _ATTACH],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == [str(Path(cluster.__file__).parents[1] / "__init__.py"), "0"]
    assert ray.get(ray.remote(lambda: 1).remote()) == 1


@pytest.mark.internals
@pytest.mark.parametrize("running", [None, "127.0.0.1:1"])
def test_cluster_that_does_not_answer(running: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its address, and as "auto" where none runs or the last one has ended; in seconds, and in one line."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda folder: running)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    for address in ("auto", "127.0.0.1:1"):
        named = address if running is None else running
        with (
            pytest.raises(ClusterError, match=rf"^no Ray at {named}: (.*refused|none is running)"),
            cluster.connect(address),
        ):
            pass


def test_sigterm_while_ray_starts_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray answers it with sys.exit(15)."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: sys.exit(15))
    with pytest.raises(Terminated), cluster.connect("local"):
        pass


def test_a_ray_that_does_not_come_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nOr something else happened.")

    monkeypatch.setattr(ray, "init", slow)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    with pytest.raises(ClusterError, match=r"timed out during startup.; if the machine is busy"):  # noqa: SIM117
        with cluster.connect("local"):
            pass


def test_credentials_reach_the_workers_of_a_cluster_and_are_not_written_down_at_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A local Ray's workers inherit them; as variables of a job Ray would write them into its logs."""
    asked: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(
        ray, "init", lambda **said: asked.update({said["address"]: said["runtime_env"]["env_vars"]})
    )
    monkeypatch.setenv("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")  # `_attach` sets it
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)  # `_start` makes one
    secrets = {"MLFLOW_TRACKING_TOKEN": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {**secrets, "MLFLOW_TRACKING_URI": "http://mlflow:5000"}.items():
        monkeypatch.setenv(name, value)
    cluster._attach("auto", {})
    cluster._start(False, {})
    assert asked["auto"].items() >= secrets.items()
    assert asked["local"].keys().isdisjoint(secrets)
    assert {env["MLFLOW_TRACKING_URI"] for env in asked.values()} == {"http://mlflow:5000"}


def test_mistakes_in_tasks_arrive_as_they_were_raised(ray_session: None) -> None:
    def mistaken() -> None:
        raise DataError("frames are missing; fetch them")

    def faulty() -> None:
        raise KeyError("ours")

    with pytest.raises(DataError) as caught, cluster.user_errors():
        ray.get(ray.remote(mistaken).remote())
    assert type(caught.value) is DataError and str(caught.value) == "frames are missing; fetch them"
    with pytest.raises(ray.exceptions.RayTaskError, match="KeyError"), cluster.user_errors():
        ray.get(ray.remote(faulty).remote())
