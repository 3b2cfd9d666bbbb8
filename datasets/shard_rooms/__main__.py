"""The command `python -m datasets.shard_rooms`."""

from datasets.shard_rooms.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.shard_rooms", PRESETS, "run")
