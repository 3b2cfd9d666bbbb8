"""`python -m trainables.phrases [PRESET] [--group.field VALUE ...]`"""

from scenelift.config.cli import command
from trainables.phrases.config import PRESETS

if __name__ == "__main__":
    command("trainables.phrases", PRESETS, "task")
