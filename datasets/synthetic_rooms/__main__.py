"""The command `python -m datasets.synthetic_rooms`."""

from datasets.synthetic_rooms.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.synthetic_rooms", PRESETS, "run")
