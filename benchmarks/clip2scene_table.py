"""Runs every row of the README's table with several seeds, and prints the table of their scores.

`python -m benchmarks.clip2scene_table [--seeds 5] [--epochs 20]`

One run after another, because each of them uses the entire machine. A finished run is not repeated and an
interrupted one continues, so the command may be stopped and called again. Every run is an ordinary run of a
trainable: `runs/table-ROW-SEED/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenelift.cluster import connect as cluster
from scenelift.config.build import Value, override
from scenelift.runs.folder import Run
from trainables.distill import config as distill_config
from trainables.distill import task as distill
from trainables.finetune import config as finetune_config
from trainables.finetune import task as finetune
from trainables.pretrain import config as pretrain_config
from trainables.pretrain import task as pretrain
from trainables.table import run as table
from trainables.table.config import TableConfig

RUNS = Path("runs")
WITHOUT: dict[str, dict[str, Value]] = {
    "clip2scene": {},
    "no-spatial-temporal": {"loss.spatial_temporal": 0.0},
    "no-self-training": {"self_training.start": None},
    "no-semantic": {"loss.semantic": 0.0, "self_training.start": None},
}
"""Rows of the ablation: what is removed from the complete method."""
FRACTIONS = (0.01, 0.1)
STARTS = {
    "random": ("random", "synthetic"),
    "ppkt": ("ppkt", "synthetic"),
    "slidr": ("slidr", "synthetic"),
    "clip2scene": ("clip2scene", "synthetic"),
    "clip2scene-text": ("clip2scene", "synthetic_text"),
}
"""Rows of fine-tuning: the pre-training that they start from, and their preset."""


@dataclass(frozen=True)
class Entry:
    """One run of the table."""

    row: str
    seed: int
    trainable: Any
    config: Any

    @property
    def name(self) -> str:
        return f"table-{self.row}-{self.seed}"

    @property
    def finished(self) -> bool:
        return Run(RUNS / self.name).status == "finished"

    def run(self) -> None:
        """Train and score, from the newest checkpoint if there is one."""
        begun = (RUNS / self.name / "config.yaml").exists()
        settings = replace(self.config.run, name=self.name, resume=begun)
        self.trainable.run(replace(self.config, run=settings))


def entries(seed: int, epochs: int) -> Iterator[Entry]:
    """The runs of one seed; runs that others start from come first."""

    def entry(row: str, trainable: Any, preset: Any, values: dict[str, Value]) -> Entry:
        return Entry(row, seed, trainable, override(preset, {"loop.seed": seed, **values}))

    full = distill_config.PRESETS["synthetic_whole"]
    assert full.self_training.start is not None
    switch = min(epochs - 1, round(epochs * full.self_training.start / full.loop.epochs))
    for row, removed in WITHOUT.items():
        values: dict[str, Value] = {"loop.epochs": epochs, "self_training.start": switch, **removed}
        yield entry(row, distill, full, values)
    contrast = pretrain_config.PRESETS["synthetic"]
    for method in ("ppkt", "slidr"):
        yield entry(method, pretrain, contrast, {"method": method, "loop.epochs": epochs})
    presets = finetune_config.PRESETS
    yield entry("supervised", finetune, presets["synthetic"], {})
    for fraction in FRACTIONS:
        for row, (start, preset) in STARTS.items():
            folder = None if start == "random" else str(RUNS / f"table-{start}-{seed}" / "student")
            values = {"labels.fraction": fraction, "start": folder}
            yield entry(f"{fraction:g}-from-{row}", finetune, presets[preset], values)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20, help="of every pre-training")
    arguments = parser.parse_args()
    wanted = [entry for seed in range(arguments.seeds) for entry in entries(seed, arguments.epochs)]
    with cluster.connect():
        for number, entry in enumerate(wanted, 1):
            if not entry.finished:
                print(f"\n{number} of {len(wanted)}: {entry.name}", flush=True)
                entry.run()
    table.run(TableConfig(experiments=("distill", "finetune")))


if __name__ == "__main__":
    main()
