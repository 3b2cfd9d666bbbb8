"""The command `python -m datasets.synthetic_rooms [demo|tiny] [--out DIR ...]`: write synthetic rooms."""

from __future__ import annotations

from datasets.synthetic_rooms.config import RoomsConfig
from datasets.synthetic_rooms.write import generate, summary


def run(config: RoomsConfig) -> None:
    """Write the rooms, then print the next command."""
    sentences = generate(config)
    print(f"{config.out} already has these rooms." if sentences is None else summary(config, sentences))
    print(
        f"Next: python -m datasets.shard_rooms --root {config.out} --split train --out {config.out}-shards/train"
    )
