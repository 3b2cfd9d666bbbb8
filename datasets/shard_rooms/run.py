"""Rooms and sentences -> a folder of shards: `python -m datasets.shard_rooms scanrefer --root ROOT`."""

from __future__ import annotations

import shlex
import sys

from datasets.grounding.source import Grounding
from datasets.shard_rooms.config import RoomShardConfig
from scenelift.io.storage import megabytes
from scenelift.samples.kind import Manifest
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


def write(config: RoomShardConfig, command_line: str) -> Manifest:
    """Write the shards of a config; needs nothing but the files."""
    from scenelift.cluster.connect import connect
    from scenelift.shards.write import write_shards

    source = open_source(config)
    with connect():
        return write_shards(
            source,
            config.split,
            config.folder,
            config.options,
            per_shard=config.per_shard,
            max_bad=config.max_bad,
            command=command_line,
            kind=ROOM,
        )


def run(config: RoomShardConfig) -> None:
    """Write the shards and print what they hold."""
    manifest = write(config, shlex.join(["python", "-m", "datasets.shard_rooms", *sys.argv[1:]]))
    print(report(manifest))
    print(f"next: python -m trainables.ground scanrefer --data.train {shlex.quote(config.folder)}")


def report(manifest: Manifest) -> str:
    """A short table of what a folder of rooms holds."""
    about = manifest.about
    rows = {
        "data set": f"{manifest.dataset} {manifest.split}",
        "protocol": about["protocol"],
        "samples": f"{manifest.samples:,}, of which bad {len(manifest.bad):,}",
        "sentences": f"{about['sentences']:,}, {about['missing']:,} about objects that the scans do not have",
        "words": f"{len(about['words']):,}",
        "features": f"{about['features']} channels a proposal",
        "size": f"{megabytes(manifest.bytes)} in {len(manifest.shards)} shards",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in rows.items())
