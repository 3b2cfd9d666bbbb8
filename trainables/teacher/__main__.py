"""`python -m trainables.teacher [PRESET] [--group.field VALUE ...]`"""

from scenelift.config.cli import command
from trainables.teacher.config import PRESETS

if __name__ == "__main__":
    command("trainables.teacher", PRESETS, "run")
