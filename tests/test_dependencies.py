"""Every library that the code imports is declared, and private parts of one are used in its own module alone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("platform/scenelift", "trainables", "datasets", "sweeps", "benchmarks")
OURS = {"scenelift", "trainables", "datasets", "sweeps", "benchmarks"}
PRIVATE = {
    "ray": r"ray\.[\w.]*\b_\w+|_trial_state|_next_perturbation_sync|RayTrainWorker|CPU_group_|BlockMetadata"
    r"|custom_execution_callback|ArrowBatchCollateFn|RAY_[a-z]\w+|RAY_OVERRIDE_JOB_RUNTIME_ENV|RAY_DATA_USE_",
    "mlflow": r"mlflow\.utils\b|_metric_objs|SystemMetricsMonitor|sharedViewState|viewStateShareKey",
    "open_clip": r"\.resblocks|\.attn\.in_proj|\.mlp\.gelu|ResidualAttentionBlock|\.ln_pre\b",
    "spconv": r"import spconv|from spconv|ALL_IMPGEMM_PARAMS|\._parameters\b|ConvAlgo",
    "pyarrow": r"\.__reduce__\(",
}
"""What the private parts of a library look like."""
ALLOWED = {
    "ray": "platform/scenelift/cluster/ray_internals.py",
    "mlflow": "platform/scenelift/tracking/mlflow_internals.py",
    "open_clip": "platform/scenelift/teachers/open_clip_internals.py",
    "spconv": "platform/scenelift/sparse/spconv_engine.py",
}


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        text for name, group in project["optional-dependencies"].items() if name != "dev" for text in group
    ]
    return {normal(re.split(r"[\s\[=<>!;~]", text)[0]) for text in [*project["dependencies"], *extras]}


def test_every_library_that_is_imported_is_declared() -> None:
    known, distributions = declared(), packages_distributions()
    missing = {
        (name, str(path.relative_to(ROOT)))
        for path in files(*SOURCES[:4])
        for name in imported(path)
        if name not in sys.stdlib_module_names | OURS | {"__future__"}
        and not known & {normal(found) for found in distributions.get(name, [name])}
    }
    assert not missing


def test_every_declared_library_has_its_version_among_the_constraints() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = [line.partition("==")[0] for line in text.splitlines() if not line.startswith("#")]
    assert pinned == sorted(pinned, key=normal)
    assert declared() <= {normal(name) for name in pinned}


@pytest.mark.parametrize("library", PRIVATE)
def test_private_parts_are_used_in_one_module_alone(library: str) -> None:
    used = {
        str(path.relative_to(ROOT))
        for path in files(*SOURCES)
        if re.search(PRIVATE[library], path.read_text())
    }
    assert used == {ALLOWED[library]} if library in ALLOWED else not used
