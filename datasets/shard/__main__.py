"""The command `python -m datasets.shard`."""

from datasets.shard.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.shard", PRESETS, "run")
