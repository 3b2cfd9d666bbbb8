"""The command `python -m trainables.distill`."""

from importlib import import_module

from scenelift.config.build import command
from trainables.distill.config import PRESETS, DistillConfig


def run(config: DistillConfig) -> None:
    """Train; what that takes to import comes after the command line is understood."""
    import_module("trainables.distill.task").run(config)


if __name__ == "__main__":
    command(run, DistillConfig, PRESETS, "python -m trainables.distill")
