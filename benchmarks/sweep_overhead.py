"""The cost of a sweep in addition to its trainings: N trials in Ray Tune against the same N
trainings one after another.

`python -m benchmarks.sweep_overhead [--trials 3] [--epochs 2]`
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from scenelift.cluster import connect as cluster
from scenelift.config import build as configuration
from scenelift.config.files import load
from scenelift.tune import command
from scenelift.tune.config import SweepConfig
from sweeps.loss_weights import SWEEP
from trainables.distill import task as distill
from trainables.distill.config import PRESETS, DistillConfig


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster.connect(dashboard=True):
        base = configuration.override(
            PRESETS["synthetic"], {"loop.epochs": arguments.epochs, "run.storage": folder}
        )
        settings = SweepConfig(trials=arguments.trials, search="random", early_stopping=False, name="swept")
        began = time.monotonic()
        swept = command.run(SWEEP, settings, base)
        in_sweep = time.monotonic() - began
        configs = [load(DistillConfig, path) for path in sorted(swept.glob("trials/*/config.yaml"))]
        began = time.monotonic()
        for number, config in enumerate(configs):
            run = replace(config.run, name=f"alone-{number}", storage=str(Path(folder) / "alone"))
            distill.run(replace(config, run=run, tracking=base.tracking))
        alone = time.monotonic() - began
    print(
        f"{len(configs)} trials in a sweep {in_sweep:.0f} s, one after another {alone:.0f} s: "
        f"ratio {in_sweep / alone:.2f}"
    )


if __name__ == "__main__":
    main()
