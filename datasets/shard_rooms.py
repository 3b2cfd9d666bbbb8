"""Rooms and sentences -> a folder of shards: `python -m datasets.shard_rooms scanrefer --root ROOT`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from datasets.grounding.config import PROTOCOLS, Candidates, Corpus, RoomOptions
from datasets.grounding.sentences import READERS
from datasets.grounding.source import Grounding
from scenelift.config.build import command, nearest
from scenelift.errors import ConfigError
from scenelift.io.storage import megabytes
from scenelift.samples.manifest import Manifest
from scenelift.samples.room import ROOM


@dataclass(frozen=True)
class RoomShardConfig:
    """Reads ScanNet's rooms with a corpus of sentences and proposed boxes, and writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    corpus: Corpus = "scanrefer"
    """Which sentences: scanrefer, nr3d, sr3d; the preset's name."""
    root: Path | None = None
    """ScanNet's folder, with scans, the sentences, the scene lists and the label table."""
    sentences: Path | None = None
    """File of the sentences; none: ROOT/ScanRefer_filtered_SPLIT.json, ROOT/nr3d.csv or ROOT/sr3d.csv."""
    split: str | None = None
    """Split to take, such as train or val; ReferIt3D's lists call the latter test."""
    candidates: Candidates = "detector"
    """Proposals: a detector's output in ROOT/proposals, or the true instances, which is another protocol."""
    student: Path | None = None
    """Folder of a 3D student (trainables.distill) whose features proposals get; none: the detector's own, or the
    cloud's colors and the box's size where it has none."""
    listener: bool = False
    """Leave out what ReferIt3D's listeners leave out: clothes, long sentences, those that do not name the class. Of
    Nr3D and Sr3D alone."""
    group: int = 8
    """Sentences of a sample at most: what is trained on together."""
    points: int = RoomOptions.points
    """Points kept of each room, for pictures."""
    out: str | None = None
    """Folder or URI to write to; none: data/shards/CORPUS/CANDIDATES/SPLIT."""
    per_shard: int = 32
    """Samples of one file."""
    max_bad: int = 0
    """Samples that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    def __post_init__(self) -> None:
        if self.corpus not in READERS:
            raise ConfigError(f"unknown corpus {self.corpus}; {nearest(self.corpus, READERS)}")
        if self.candidates not in PROTOCOLS:
            raise ConfigError(f"unknown candidates {self.candidates}; {nearest(self.candidates, PROTOCOLS)}")
        for name, least in {"group": 1, "points": 0, "per_shard": 1, "max_bad": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is at least {least}, not {getattr(self, name)}")

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return self.out or f"data/shards/{self.corpus}/{self.candidates}/{self.split or 'all'}"

    @property
    def options(self) -> RoomOptions:
        """What the source reads with."""
        return RoomOptions(self.points)

    def source(self) -> Grounding:
        """The corpus over the rooms."""
        if self.root is None:
            raise ConfigError("--root is missing: ScanNet's folder, which holds scans")
        return Grounding(
            self.root.expanduser().absolute(),
            self.corpus,
            self.candidates,
            self.sentences,
            self.student,
            self.listener,
            self.group,
        )


PRESETS = {
    "scanrefer": RoomShardConfig(),
    "nr3d": RoomShardConfig(corpus="nr3d", candidates="instances"),
    "sr3d": RoomShardConfig(corpus="sr3d", candidates="instances"),
}
"""Nr3D and Sr3D as ReferIt3D has them, among true instances."""


def write(config: RoomShardConfig, command_line: str) -> Manifest:
    """Write the shards of a config; needs nothing but the files."""
    from scenelift.cluster.connect import connect
    from scenelift.shards.write import write_shards

    source = config.source()
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


def main() -> None:
    """Entry point."""
    command(run, RoomShardConfig, PRESETS, "python -m datasets.shard_rooms")


if __name__ == "__main__":
    from datasets.shard_rooms import main

    main()
