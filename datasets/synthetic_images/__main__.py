"""The command `python -m datasets.synthetic_images`."""

from datasets.synthetic_images.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.synthetic_images", PRESETS, "run")
