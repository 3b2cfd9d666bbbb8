"""`python -m trainables.evaluate [PRESET] --student runs/NAME/student --data.test DIR`"""

from scenelift.config.cli import command
from trainables.evaluate.config import PRESETS

if __name__ == "__main__":
    command("trainables.evaluate", PRESETS, "run")
