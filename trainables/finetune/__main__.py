"""`python -m trainables.finetune [PRESET] [--start runs/NAME/student] [--labels.fraction 0.01]`"""

from scenelift.config.cli import command
from trainables.finetune.config import PRESETS

if __name__ == "__main__":
    command("trainables.finetune", PRESETS, "task")
