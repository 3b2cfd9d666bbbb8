"""Runs every row of CLIP2Scene's tables with several seeds, and prints the table of their scores.

`python -m benchmarks.clip2scene_table [--seeds 5] [--epochs 20]`: the README's table, on the synthetic world
`python -m benchmarks.clip2scene_table --data FOLDER [--row ROW ...]`: the papers' presets, on real shards

One run after another, because each of them uses the entire machine. A finished run is not repeated and an
interrupted one continues, so the command may be stopped and called again. Every run is an ordinary run of a
trainable: `runs/table-ROW-SEED/`. FOLDER holds the shards of docs/clip2scene.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import clip2scene_rows as rows
from benchmarks.clip2scene_rows import Entry
from scenelift.cluster import connect as cluster
from scenelift.config.build import nearest
from scenelift.config.cli import exiting
from scenelift.errors import ConfigError
from trainables.table import run as table
from trainables.table.config import TableConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    options = _options(arguments)
    wanted = _wanted(options)
    if options.plan:
        print("\n".join(f"{entry.status:<22}{entry.text}" for entry in wanted))
        return
    waiting = [entry for entry in wanted if entry.status != "finished"]
    for entry in waiting:  # before the first of them trains for days
        if entry.ready:
            entry.check()
    with cluster.connect():
        if options.preflight:
            _preflight(waiting, options.preflight)
            return
        for number, entry in enumerate(waiting, 1):
            print(f"\n{number} of {len(waiting)}: {entry.name}", flush=True)
            if not entry.ready:
                raise ConfigError(
                    f"{entry.name} starts from {entry.start}; run that first: --row {entry.start}"
                )
            entry.run()
    scored = {entry.command for entry in wanted} - {"pretrain"}
    if scored:
        table.run(TableConfig(experiments=tuple(sorted(scored))))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, help="of every row; 5, with --data 1")
    parser.add_argument("--epochs", type=int, default=20, help="of every synthetic pre-training")
    parser.add_argument("--data", type=Path, help="folder of real shards: the papers' presets")
    parser.add_argument("--row", action="append", default=[], help="only this row; may be repeated")
    parser.add_argument("--plan", action="store_true", help="print status and command of every run, and stop")
    parser.add_argument(
        "--preflight", type=int, default=0, metavar="STEPS", help="measure steps of each run, and stop"
    )
    return parser.parse_args(arguments)


def _wanted(options: argparse.Namespace) -> list[Entry]:
    """The runs of the chosen rows; ConfigError for an unknown row."""
    seeds = range(options.seeds or (1 if options.data else 5))
    if options.data:
        found = [entry for seed in seeds for entry in rows.paper(options.data, seed)]
    else:
        found = [entry for seed in seeds for entry in rows.synthetic(seed, options.epochs)]
    known = dict.fromkeys(entry.row for entry in found)
    for row in options.row:
        if row not in known:
            raise ConfigError(f"unknown row {row}; {nearest(row, known)}")
    return [entry for entry in found if not options.row or entry.row in options.row]


def _preflight(entries: Sequence[Entry], steps: int) -> None:
    """What each run takes in time, memory and disk, for those that can begin and have not."""
    for entry in entries:
        print(f"\n{entry.name}: {entry.status}", flush=True)
        if entry.ready and not entry.begun:
            entry.run(steps)


if __name__ == "__main__":
    with exiting():
        main()
