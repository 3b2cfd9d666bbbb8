"""`python -m trainables.explore [PRESET] [--data PLACE] [--student runs/NAME/student]`"""

from scenelift.config.cli import command
from trainables.explore.config import PRESETS

if __name__ == "__main__":
    command("trainables.explore", PRESETS, "run")
