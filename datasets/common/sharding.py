"""What the commands that write shards share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from datasets.common.listing import reported
from scenelift.io import secrets
from scenelift.io.storage import megabytes
from scenelift.samples.kind import Kind, Manifest, SampleSource


class ShardSettings(Protocol):
    """Settings that all of the commands have."""

    @property
    def split(self) -> str | None: ...
    @property
    def folder(self) -> str: ...
    @property
    def per_shard(self) -> int: ...
    @property
    def max_bad(self) -> int: ...


def write(
    config: ShardSettings, source: SampleSource, options: Any, kind: Kind[Any], module: str, command: str = ""
) -> Manifest:
    """Write the shards of a source. command: what to record in them; else this command line of `module`."""
    from scenelift.cluster.connect import connect
    from scenelift.shards.write import write_shards

    with connect():
        return write_shards(
            source,
            config.split,
            config.folder,
            options,
            per_shard=config.per_shard,
            max_bad=config.max_bad,
            command=command or secrets.command(["python", "-m", module, *sys.argv[1:]]),
            kind=kind,
        )


def report(manifest: Manifest, rows: Mapping[str, str]) -> str:
    """A short table of what a folder of shards has; rows: what is special to its kind."""
    size = f"{megabytes(manifest.bytes)} in {len(manifest.shards)} shards"
    left_out = reported(manifest.about.get("left_out", {}))
    table = {"data set": f"{manifest.dataset} {manifest.split}", **rows, "left out": left_out, "size": size}
    return "\n".join(f"{name:<11} {value}" for name, value in table.items())
