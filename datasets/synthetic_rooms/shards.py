"""The synthetic rooms as shards, made on first use: the default data of trainables.ground."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from datasets.common.sharding import write
from datasets.grounding.config import Candidates
from datasets.shard_rooms.config import PRESETS as SHARDS
from datasets.shard_rooms.run import open_source
from datasets.synthetic_rooms.config import PRESETS, RoomsConfig
from datasets.synthetic_rooms.write import generate
from scenelift.samples.kind import MANIFEST
from scenelift.samples.room import ROOM


def synthetic_room_shards(
    split: str, candidates: Candidates = "detector", rooms: RoomsConfig = PRESETS["demo"]
) -> str:
    """Folder of the shards of a split of synthetic rooms; whatever is missing is made, by default under `data/`."""
    out = Path(f"{rooms.out}-shards") / (split if candidates == "detector" else f"{candidates}-{split}")
    if (out / MANIFEST).exists():
        return str(out)
    generate(rooms)
    code = (
        "from datasets.synthetic_rooms.shards import synthetic_room_shards as make; "
        f'make("{split}", "{candidates}")'
    )
    config = replace(
        SHARDS["scanrefer"], root=rooms.out, split=split, candidates=candidates, points=1500, out=str(out)
    )
    command = shlex.join(["python", "-c", code])
    write(config, open_source(config), config.options, ROOM, "datasets.shard_rooms", command)
    return str(out)
