"""Protects cluster.yaml, docs/rayjob.yaml, docs/Dockerfile, docs/cluster.md and .rayignore, without a cluster.

Ray's own code judges what it can: its schema, its shells, its autoscaler's choice of machines, its packing of a
job. The rest is what Ray would find out on machines that cost.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from ray._private.runtime_env.packaging import create_package
from ray._private.runtime_env.working_dir import upload_working_dir_if_needed
from ray.autoscaler._private.command_runner import _with_environment_variables, _with_interactive
from ray.autoscaler._private.util import prepare_config, validate_config, with_envs
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest

from datasets.shard.config import PRESETS as SHARDS
from datasets.synthetic.config import PRESETS as WORLDS
from scenelift.cluster import connect as cluster
from scenelift.cluster import resources
from scenelift.config.cli import parse
from scenelift.train.config import ScaleConfig
from scenelift.train.launch import Resources
from scenelift.tune.config import SweepConfig
from scenelift.tune.search import Choice
from trainables.distill.config import PRESETS as DISTILL

REPOSITORY = Path(__file__).parents[1]
COMMANDS = {
    "datasets.shard": SHARDS,
    "datasets.synthetic": WORLDS,
    "trainables.distill": DISTILL,
}
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
IDLE = "RAY_idle_worker_killing_time_threshold_ms"  # read where Ray is started, not in a job
LISTS = ("initialization_commands", "setup_commands", *STARTS)


def read(name: str) -> str:
    return (REPOSITORY / name).read_text()


CLUSTER: dict[str, Any] = yaml.safe_load(read("cluster.yaml"))
JOB: dict[str, Any] = yaml.safe_load(read("docs/rayjob.yaml"))["spec"]
KUBERNETES = JOB["rayClusterSpec"]
TYPES: dict[str, Any] = CLUSTER["available_node_types"]
HEAD = TYPES[CLUSTER["head_node_type"]]
GROUPS = {name: kind for name, kind in TYPES.items() if kind is not HEAD}
PINNED = dict(line.split(" ;")[0].split("==") for line in read("constraints.txt").splitlines()[1:])


def commands(*lists: str) -> list[str]:
    return [command for name in lists for command in CLUSTER.get(name, [])]


# cluster.yaml


def test_ray_takes_the_file() -> None:
    """Against unknown keys, wrong types, and a head that is no group: `ray up` would refuse them."""
    validate_config(prepare_config(yaml.safe_load(read("cluster.yaml"))))


@pytest.mark.parametrize("command", commands(*LISTS))
def test_a_shell_takes_every_command_as_ray_wraps_it(command: str) -> None:
    """Against quotes that do not close, and a comment behind a command, which would hide Ray's bracket."""
    [wrapped] = with_envs([command], {"RAY_HEAD_IP": "10.0.0.1"})
    wrapped = _with_environment_variables(wrapped, {"RAY_OVERRIDE_RESOURCES": HEAD["resources"]})
    inner = shlex.split(" ".join(_with_interactive(wrapped)))[-1]
    said = subprocess.run(["bash", "-n", "-c", inner], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("name", ["cluster.yaml", "docs/Dockerfile", "Makefile"])
def test_machines_get_the_versions_that_were_tested(name: str) -> None:
    """Against dependencies that resolve anew on the day a machine starts, and against a second list of them."""
    text = "\n".join(commands("setup_commands")) if name == "cluster.yaml" else read(name)
    text = text.replace("\\\n", " ").replace("$(BIN)", "bin")
    installs = [shlex.split(words) for words in re.findall(r"pip install ([^&|)\n]*)", text)]
    installs = [words for words in installs if "--no-deps" not in words]  # of the repository itself
    assert len(installs) == 2, "uv, then with it the rest"
    for words in installs:
        assert words[words.index("--constraint") + 1].split("/")[-1] == "constraints.txt"
    uv, rest = installs
    assert uv[-1] == "uv"
    assert rest[rest.index("--requirement") + 1] == "pyproject.toml"
    assert {"train", "aws"} <= {rest[i + 1] for i, word in enumerate(rest) if word == "--extra"}


def test_what_machines_install_is_pinned() -> None:
    """Against a dependency that constraints.txt does not know; `make constraints` adds it."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["aws"], "uv"]
    names = {Requirement(line).name.lower().replace("_", "-") for line in wanted}
    assert names - PINNED.keys() == set()


def test_files_that_are_copied_exist_and_those_that_are_used_are_copied() -> None:
    """Against a mount whose source has moved, and a setup that reads what is not on the machine."""
    mounts = CLUSTER["file_mounts"]
    ours = {remote: local for remote, local in mounts.items() if not local.startswith("~")}
    assert all((REPOSITORY / local).is_file() for local in ours.values())
    used = re.findall(r"(?:--constraint|--requirement) (\S+)", "\n".join(commands("setup_commands")))
    assert {Path(path).name for path in used} == {Path(remote).name for remote in ours}
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_head_takes_no_tasks_and_populations_their_turns() -> None:
    """Against tasks that take the head's memory, and a population whose trials find no place."""
    assert HEAD["resources"] == {"CPU": 0, resources.SWEEP: 1}
    assert "InstanceMarketOptions" not in HEAD["node_config"]


def test_only_training_is_on_spot() -> None:
    """Against a head that is taken away with all jobs, and a price that nobody wanted to pay."""
    spot = {
        name
        for name, kind in TYPES.items()
        if kind["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}
    }
    assert spot == {name for name, kind in TYPES.items() if kind["resources"].get("GPU")} == {"gpu"}


def test_an_idle_cluster_costs_one_machine() -> None:
    assert all(kind.get("min_workers", 0) == 0 for kind in GROUPS.values())
    assert CLUSTER["max_workers"] == sum(kind["max_workers"] for kind in GROUPS.values())
    assert CLUSTER["provider"]["cache_stopped_nodes"] is False


def test_every_machine_has_an_image_a_disk_and_a_role() -> None:
    """Against Ray's own choices: an image that our torch does not run on, and no role for workers."""
    for kind in TYPES.values():
        machine = kind["node_config"]
        assert machine["ImageId"].startswith("resolve:ssm:/aws/service/")
        assert machine["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] >= 100
        assert machine["IamInstanceProfile"]["Name"]
    assert "nvidia-driver" in TYPES["gpu"]["node_config"]["ImageId"]


def test_the_shared_folder_is_in_the_clusters_region() -> None:
    [mount] = [command for command in commands("setup_commands") if "mount -t nfs4" in command]
    assert f".efs.{CLUSTER['provider']['region']}.amazonaws.com:/ /shared" in mount


@pytest.fixture(scope="module")
def inherited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What `ray start` inherits, by the list of commands that starts it: run as Ray runs them, in a home of their
    own whose `ray` writes down its variables."""
    home = tmp_path_factory.mktemp("home")
    ray = home / "scenelift/.venv/bin/ray"
    ray.parent.mkdir(parents=True)
    ray.write_text(f"#!{sys.executable}\nimport json, os\nprint(json.dumps(dict(os.environ)))\n")
    ray.chmod(0o755)
    plain = {"HOME": str(home), "PATH": os.defpath, "RAY_HEAD_IP": "10.0.0.1"}
    found = {}
    for name in STARTS:
        [profile] = [command for command in commands("setup_commands") if ".bashrc" in command]
        [start] = [command for command in commands(name) if "ray start" in command]
        for command in (f"touch ~/.bashrc; {profile}", start):
            inner = shlex.split(" ".join(_with_interactive(command)))[-1]
            said = subprocess.run(["bash", "-c", inner], env=plain, capture_output=True, text=True)
        found[name] = json.loads(said.stdout)
    return found


@pytest.mark.parametrize("name", STARTS)
def test_ray_is_started_with_the_token_and_without_rays_thread_limit(
    name: str, inherited: dict[str, dict[str, str]]
) -> None:
    """Against a cluster that anybody may use, and workers that compute on one thread whatever their CPUs."""
    found = inherited[name]
    assert "OMP_NUM_THREADS" not in found
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["PATH"].startswith(f"{found['HOME']}/scenelift/.venv/bin:"), "a job's `python` is another"
    assert found[IDLE] == cluster.ENVIRONMENT[IDLE]


# What the cluster starts, and what the library makes of it


def started(
    *tasks: dict[str, float], together: list[dict[str, float]] | None = None
) -> dict[str, int] | None:
    """Machines by group that Ray's scheduler would start for tasks, or for bundles that are placed at once; None
    if it never could."""
    config = AutoscalingConfig(yaml.safe_load(read("cluster.yaml")), skip_content_hash=True)
    bundles = [ResourceRequestUtil.make(bundle) for bundle in together or []]
    reply = ResourceDemandScheduler(event_logger=None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_worker_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(
                [ResourceRequestUtil.make(task) for task in tasks]
            ),
            gang_resource_requests=[GangResourceRequest(requests=bundles)] if bundles else [],
        )
    )
    if reply.infeasible_resource_requests or reply.infeasible_gang_resource_requests:
        return None
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def test_a_training_starts_machines_with_a_gpu_and_reading_does_not() -> None:
    """Against a task of one CPU that brings up a machine with a GPU."""
    assert started(together=[{"CPU": 6, "GPU": 1}] * 4) == {"gpu": 4}
    assert started({"CPU": 1}) == {"data": 1}
    assert started(together=[{"CPU": 9, "GPU": 1}]) is None


@pytest.mark.parametrize("place", ["cluster.yaml", "docs/rayjob.yaml"])
def test_jobs_are_told_what_the_cluster_may_grow_to(
    place: str, inherited: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a training that is refused, or runs without GPUs, because no machine has come yet."""
    found = inherited[STARTS[0]] if place == "cluster.yaml" else environment(KUBERNETES["headGroupSpec"])
    said = found[resources.GROWS_TO]
    assert json.loads(said) == [
        {**kind["resources"], "machines": kind["max_workers"]} for kind in GROUPS.values()
    ]
    monkeypatch.setenv(resources.GROWS_TO, said)
    assert Resources.fit(ScaleConfig(workers=4)) == Resources(4, 8.0, 1.0)
    assert Resources.fit(ScaleConfig(workers=8, gpus=0)).cpus == 8.0


def test_a_populations_trials_fit_on_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against trials that ask for a CPU besides, which a head without CPUs never has."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {resources.SWEEP: 1.0})
    asked = Choice(SweepConfig(4, "pbt"), "m", 3).resources()
    assert asked.keys() <= HEAD["resources"].keys()
    assert all(HEAD["resources"][kind] >= 3 * amount for kind, amount in asked.items())


def environment(group: dict[str, Any]) -> dict[str, str]:
    [container] = group["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


# docs/rayjob.yaml


def test_the_job_runs_the_ray_that_was_tested() -> None:
    assert KUBERNETES["rayVersion"] == PINNED["ray"]
    assert KUBERNETES["authOptions"] == {"mode": "token"}
    assert KUBERNETES["enableInTreeAutoscaling"] is True
    python = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert python.startswith(">=" + re.findall(r"^FROM python:(\d+\.\d+)", read("docs/Dockerfile"), re.M)[0])


def test_kubernetes_has_the_same_groups() -> None:
    """Against two clusters of which only one is kept up."""
    found = {}
    for group in KUBERNETES["workerGroupSpecs"]:
        [container] = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        resources = {"CPU": int(limits["cpu"])}
        if "nvidia.com/gpu" in limits:
            resources["GPU"] = limits["nvidia.com/gpu"]
        found[group["groupName"]] = (resources, group["minReplicas"], group["maxReplicas"])
        spot = "spot" in group["template"]["spec"].get("nodeSelector", {}).values()
        assert spot == ("InstanceMarketOptions" in TYPES[group["groupName"]]["node_config"])
    assert found == {name: (kind["resources"], 0, kind["max_workers"]) for name, kind in GROUPS.items()}
    head = KUBERNETES["headGroupSpec"]["rayStartParams"]
    custom = json.loads(json.loads(head["resources"]))
    assert {"CPU": int(head["num-cpus"]), **custom} == HEAD["resources"]


def test_kubernetes_has_the_same_variables(inherited: dict[str, dict[str, str]]) -> None:
    """Against a cure that only one of the two clusters has."""
    theirs = environment(KUBERNETES["headGroupSpec"])
    ours = {name: value for name, value in inherited[STARTS[0]].items() if name in theirs}
    assert re.fullmatch(r"http://[\d.]+:5000", ours.pop("MLFLOW_TRACKING_URI"))
    assert theirs.pop("MLFLOW_TRACKING_URI").startswith("http://")
    assert theirs == ours
    chosen = re.findall(r"\b((?:RAY|SCENELIFT)_\w+)=", "\n".join(commands(*LISTS)))
    assert theirs.keys() == set(chosen) - {"RAY_AUTH_MODE"}, "KubeRay sets it"
    for group in KUBERNETES["workerGroupSpecs"]:
        assert environment(group) == {IDLE: cluster.ENVIRONMENT[IDLE]}


def test_every_pod_has_the_shared_folder_and_the_same_image() -> None:
    pods = [
        group["template"]["spec"] for group in (KUBERNETES["headGroupSpec"], *KUBERNETES["workerGroupSpecs"])
    ]
    for pod in pods:
        [container] = pod["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert [volume["name"] for volume in pod["volumes"]] == ["shared"]
        assert container["image"] == pods[0]["containers"][0]["image"]


# docs/cluster.md


def submitted() -> list[str]:
    """Every command that the page or the manifest sends to a cluster."""
    sent = re.findall(r"^ray job submit .* -- (python .*)$", read("docs/cluster.md"), re.M)
    return [*sent, JOB["entrypoint"]]


@pytest.mark.parametrize("command", submitted())
def test_a_command_that_is_sent_is_understood_and_keeps_its_results(command: str) -> None:
    """Against options that have changed, and results in a folder that ends with the job."""
    python, flag, module, *options = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module)
    config = parse(COMMANDS[module], options, module)
    written = config.run.storage if module.startswith("trainables") else str(config.out)
    assert written.startswith(("/shared/", "s3://"))
    if module.startswith("trainables"):
        assert config.data.train and config.data.test, "the synthetic world would lie on one machine"
        asked = {"CPU": config.scale.cpus or 8, "GPU": 1}
        assert started(together=[asked] * config.scale.workers) == {"gpu": config.scale.workers}
        assert asked["CPU"] < GROUPS["gpu"]["resources"]["CPU"], "nothing is left for reading"


def test_the_page_and_its_files_exist() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", read("docs/cluster.md")):
        assert (REPOSITORY / "docs" / link).exists()
    assert len(submitted()) > 6


# .rayignore


def packed(folder: Path, target: Path) -> dict[str, int]:
    """Name -> bytes of the files that `ray job submit --working-dir` would send, by Ray's own steps."""

    def pack(folder: str, excludes: list[str], is_file: bool = False) -> None:
        create_package(folder, target, include_gitignore=True, excludes=excludes)

    upload_working_dir_if_needed({"working_dir": str(folder)}, include_gitignore=True, upload_fn=pack)
    with ZipFile(target) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


@pytest.mark.internals
def test_a_job_is_small_and_whole(tmp_path: Path) -> None:
    """Against gigabytes that travel with each job, and code or weights that do not."""
    names = packed(REPOSITORY, tmp_path / "job.zip").keys()
    assert (tmp_path / "job.zip").stat().st_size < 8e6
    needed = {
        str(path.relative_to(REPOSITORY))
        for folder in ("platform", "trainables", "datasets", "sweeps")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.parent.suffix != ".egg-info"
    }
    assert "trainables/weights/tiny_clip.safetensors" in needed
    assert needed - names == set()
    left = {".git", ".venv", "data", "docs", "runs", "tests"}
    assert {name.split("/")[0] for name in names}.isdisjoint(left)


@pytest.mark.internals
def test_data_runs_and_environments_stay_at_home(tmp_path: Path) -> None:
    """Against rules that hold only as long as a checkout is clean, empty folders and links included."""
    home = tmp_path / "home"
    for name in (
        ".git/objects/ab",
        ".venv/bin/python",
        "data/a/b.parquet",
        "runs/x/student.bin",
        "tests/t.py",
    ):
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    for name in ("datasets/runs.py", "trainables/data/notes.txt", "sweeps/tests/case.py"):
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    (home / "docs").mkdir()
    for name in (".gitignore", ".rayignore"):
        shutil.copy(REPOSITORY / name, home)
    kept = {
        ".gitignore",
        ".rayignore",
        "datasets/runs.py",
        "trainables/data/notes.txt",
        "sweeps/tests/case.py",
    }
    assert packed(home, tmp_path / "job.zip").keys() == kept
    shutil.rmtree(home / ".venv")
    (home / ".venv").symlink_to(tmp_path)  # as a second checkout may have it
    assert packed(home, tmp_path / "again.zip").keys() == kept
