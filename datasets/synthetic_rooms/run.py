"""The command `python -m datasets.synthetic_rooms [demo|tiny] [--out DIR ...]`: write synthetic rooms."""

from __future__ import annotations

import shlex

from datasets.synthetic_rooms.config import RoomsConfig
from datasets.synthetic_rooms.write import generate, summary


def run(config: RoomsConfig) -> None:
    """Write the rooms, then print the next command."""
    sentences = generate(config)
    print(f"{config.out} already has these rooms." if sentences is None else summary(config, sentences))
    root, out = shlex.quote(str(config.out)), shlex.quote(f"{config.out}-shards/train")
    print(f"next: python -m datasets.shard_rooms scanrefer --root {root} --split train --out {out}")
