"""The command `python -m trainables.ground`."""

from importlib import import_module

from scenelift.config.build import command
from trainables.ground.config import PRESETS, GroundConfig


def run(config: GroundConfig) -> None:
    """Train; what that takes to import comes after the command line is understood."""
    import_module("trainables.ground.task").run(config)


if __name__ == "__main__":
    command(run, GroundConfig, PRESETS, "python -m trainables.ground")
