"""The command `python -m datasets.synthetic`."""

from datasets.synthetic.config import PRESETS
from scenelift.config.cli import command

if __name__ == "__main__":
    command("datasets.synthetic", PRESETS, "run")
