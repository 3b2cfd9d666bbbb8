"""`python -m benchmarks.gpu`: run the sections, print a table, write one JSON."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import benchmarks  # noqa: F401  puts the library on the path
from benchmarks.gpu import layers, parts, steps
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.frames import Frames, load
from scenelift.config.cli import exiting
from scenelift.errors import ConfigError

OPTIONAL = ("ray", "mlflow", "optuna", "pyarrow", "spconv", "open_clip", "timm")
NEEDS = {"steps": ("open_clip",), "whole_steps": ("open_clip",), "teacher": ("open_clip",)}
SECONDS = {"network_speed": 100, "whole_steps": 60, "steps": 40}
"""What a section may take; it is left out where less than half of it is left. Others: 20."""


def sections(frames: Path) -> dict[str, Callable[[Bench, Frames], dict[str, Any]]]:
    """What is measured, in the order of its worth."""
    return {
        "environment": parts.environment,
        "convolutions": layers.convolutions,
        "networks": layers.networks,
        "steps": steps.steps,
        "whole_steps": steps.whole_steps,
        "teacher": parts.teacher,
        "losses": parts.losses,
        "small_steps": steps.small_steps,
        "repeated": steps.repeated,
        "distributed": functools.partial(steps.distributed, file=frames),
        "network_speed": layers.network_speed,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("gpu.json"), help="JSON that is written (%(default)s)"
    )
    parser.add_argument(
        "--frames", type=Path, default=Path(".gpu/frames.npz"), help="from benchmarks.gpu.frames"
    )
    parser.add_argument("--seconds", type=float, default=450, help="time for everything (%(default)s)")
    parser.add_argument("--only", help="names of sections, with commas between")
    parser.add_argument("--device", default="cuda:0", help="cpu: a dry run (%(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny networks, few repeats")
    return parser.parse_args()


def run(bench: Bench, frames: Path, names: list[str], out: Path) -> dict[str, Any]:
    """Run sections; each that fails says why, and the others go on. Written to `out` after each."""
    data, every = load(frames), sections(frames)
    missing = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    result: dict[str, Any] = {"missing": missing, "sections": {}, "seconds": {}, "left_out": {}}
    for name in names:
        lacking = [package for package in NEEDS.get(name, ()) if package in missing]
        began = time.perf_counter()
        if lacking or bench.left < SECONDS.get(name, 20) / 2:
            result["left_out"][name] = f"needs {', '.join(lacking)}" if lacking else "no time left"
        else:
            try:
                result["sections"][name] = every[name](bench, data)
            except Exception:  # one section's failure is a result too
                result["left_out"][name] = traceback.format_exc(limit=-4)[-1500:]
        result["seconds"][name] = round(time.perf_counter() - began, 1)
        print(f"{name}: {result['seconds'][name]} s {result['left_out'].get(name, '')}", flush=True)
        out.write_text(json.dumps(result, indent=1, default=str))
    return result


def table(result: dict[str, Any]) -> str:
    """One line a measurement."""
    lines = []
    for name, section in result["sections"].items():
        lines.append(f"## {name}")
        for key, value in section.items():
            brief = (
                {k: v for k, v in value.items() if k not in ("top_ms", "host_calls")}
                if isinstance(value, dict)
                else value
            )
            lines.append(f"{key}: {json.dumps(brief, default=str)}")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    args = parse()
    warnings.simplefilter("ignore")
    with exiting():
        known = list(sections(args.frames))
        names = args.only.split(",") if args.only else known
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"no section {unknown[0]}; there are {', '.join(known)}")
        if args.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError("torch sees no GPU here; --device cpu --small is a dry run")
        bench = Bench(torch.device(args.device), args.small, args.seconds)
        print(table(run(bench, args.frames, names, args.out)))


if __name__ == "__main__":
    main()
