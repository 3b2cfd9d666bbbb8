"""Runs every row of the README's table, several seeds each, and prints the table of what they scored.

`python -m benchmarks.clip2scene_table [--seeds 5] [--epochs 20]`

One run after another, as each of them takes the whole machine; a run that is finished is not run again, one that
was interrupted goes on, so the command may be stopped and called again. Every run is an ordinary run of a
trainable: `runs/table-ROW-SEED/`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenelift.cluster import connect as cluster
from scenelift.config.build import Value, override
from trainables.distill import task as distill
from trainables.finetune import task as finetune
from trainables.pretrain import task as pretrain
from trainables.table import run as table

RUNS = Path("runs")
WITHOUT = {
    "clip2scene": {},
    "no-spatial-temporal": {"loss.spatial_temporal": 0.0},
    "no-self-training": {"self_training.start": None},
    "no-semantic": {"loss.semantic": 0.0, "self_training.start": None},
}
"""Rows of the ablation: what is taken away from the whole method."""
FRACTIONS = (0.01, 0.1)
STARTS = {
    "random": ("random", "synthetic"),
    "ppkt": ("ppkt", "synthetic"),
    "slidr": ("slidr", "synthetic"),
    "clip2scene": ("clip2scene", "synthetic"),
    "clip2scene-text": ("clip2scene", "synthetic_text"),
}
"""Rows of fine-tuning: the pre-training that it starts from, and its preset."""


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
        result = RUNS / self.name / "result.json"
        return result.exists() and json.loads(result.read_text())["status"] == "finished"

    def run(self) -> None:
        """Train and score, from the newest checkpoint if there is one."""
        begun = (RUNS / self.name / "config.yaml").exists()
        settings = replace(self.config.run, name=self.name, resume=begun)
        self.trainable.run(replace(self.config, run=settings))


def entries(seed: int, epochs: int) -> Iterator[Entry]:
    """The runs of one seed, those that others start from first."""

    def entry(row: str, trainable: Any, preset: Any, values: dict[str, Value]) -> Entry:
        return Entry(row, seed, trainable, override(preset, {"loop.seed": seed, **values}))

    whole = distill.PRESETS["synthetic_whole"]
    switch = min(epochs - 1, round(epochs * whole.self_training.start / whole.loop.epochs))
    for row, taken in WITHOUT.items():
        values = {"loop.epochs": epochs, "self_training.start": switch, **taken}
        yield entry(row, distill, whole, values)
    for method in ("ppkt", "slidr"):
        yield entry(
            method, pretrain, pretrain.PRESETS["synthetic"], {"method": method, "loop.epochs": epochs}
        )
    yield entry("supervised", finetune, finetune.PRESETS["synthetic"], {})
    for fraction in FRACTIONS:
        for row, (start, preset) in STARTS.items():
            folder = None if start == "random" else str(RUNS / f"table-{start}-{seed}" / "student")
            values = {"labels.fraction": fraction, "start": folder}
            yield entry(f"{fraction:g}-from-{row}", finetune, finetune.PRESETS[preset], values)


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
    table.run(table.TableConfig(experiments=("distill", "finetune")))


if __name__ == "__main__":
    main()
