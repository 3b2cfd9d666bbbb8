"""The command `python -m trainables.pretrain`."""

from importlib import import_module

from scenelift.config.build import command
from trainables.pretrain.config import PRESETS, PretrainConfig


def run(config: PretrainConfig) -> None:
    """Train; what that takes to import comes after the command line is understood."""
    import_module("trainables.pretrain.task").run(config)


if __name__ == "__main__":
    command(run, PretrainConfig, PRESETS, "python -m trainables.pretrain")
