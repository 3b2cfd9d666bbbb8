"""The command `python -m datasets.check`."""

from datasets.check.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.check", PRESETS, "run")
