"""`python -m trainables.predict --student runs/NAME/student --data FOLDER --out labels`"""

from scenelift.config.cli import command
from trainables.predict.config import PRESETS

if __name__ == "__main__":
    command("trainables.predict", PRESETS, "run")
