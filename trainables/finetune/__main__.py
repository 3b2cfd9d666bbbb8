"""The command `python -m trainables.finetune`."""

from scenelift.config.cli import command
from trainables.finetune.config import PRESETS

if __name__ == "__main__":
    command("trainables.finetune", PRESETS, "task")
