"""`python -m trainables.distill [PRESET] [--group.field VALUE ...]`"""

from scenelift.config.cli import command
from trainables.distill.config import PRESETS

if __name__ == "__main__":
    command("trainables.distill", PRESETS, "task")
