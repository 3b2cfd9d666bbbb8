"""The command `python -m trainables.distill`."""

from scenelift.config.cli import command
from trainables.distill.config import PRESETS

if __name__ == "__main__":
    command("trainables.distill", PRESETS, "task")
