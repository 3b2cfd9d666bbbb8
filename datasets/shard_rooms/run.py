"""Rooms and sentences -> a folder of shards: `python -m datasets.shard_rooms scanrefer --root ROOT`."""

from __future__ import annotations

from datasets.common.following import after_rooms
from datasets.common.sharding import report, write
from datasets.grounding.source import Grounding
from datasets.shard_rooms.config import RoomShardConfig
from scenelift.samples.room import ROOM


def open_source(config: RoomShardConfig) -> Grounding:
    """The corpus over the rooms."""
    assert config.root is not None, "check_here"
    return Grounding(
        config.root.expanduser().absolute(),
        config.corpus,
        config.candidates,
        config.sentences,
        config.student,
        config.listener,
        config.group,
    )


def run(config: RoomShardConfig) -> None:
    """Write the shards and print their contents."""
    manifest = write(config, open_source(config), config.options, ROOM, "datasets.shard_rooms")
    about = manifest.about
    rows = {
        "protocol": about["protocol"],
        "samples": f"{manifest.samples:,}, of which bad {len(manifest.bad):,}",
        "sentences": f"{about['sentences']:,}, {about['missing']:,} about objects that the scans do not have",
        "unique": f"{about['unique']:,}, multiple {about['sentences'] - about['unique']:,}",
        "words": f"{len(about['words']):,}",
        "features": f"{about['features']} channels a proposal",
    }
    print(report(manifest, rows))
    print(after_rooms(manifest, config.folder))
