"""The command `python -m datasets.shard_captions`."""

from datasets.shard_captions.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.shard_captions", PRESETS, "run")
