"""The command `python -m datasets.synthetic_rooms [demo|tiny] [--out DIR ...]`: write synthetic rooms."""

from __future__ import annotations

from datasets.synthetic_rooms.config import RoomsConfig
from datasets.synthetic_rooms.write import generate, summary


def run(config: RoomsConfig) -> None:
    """Write the rooms, then say what to do next."""
    sentences = generate(config)
    print(f"{config.out} already holds these rooms." if sentences is None else summary(config, sentences))
    print(
        f"Next: python -m datasets.shard_rooms --root {config.out} --split train --out {config.out}-shards/train"
    )
