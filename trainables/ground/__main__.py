"""`python -m trainables.ground [PRESET] [--group.field VALUE ...]`"""

from scenelift.config.cli import command
from trainables.ground.config import PRESETS

if __name__ == "__main__":
    command("trainables.ground", PRESETS, "task")
