"""The command `python -m trainables.table`."""

from scenelift.config.cli import command
from trainables.table.config import PRESETS

if __name__ == "__main__":
    command("trainables.table", PRESETS, "run")
