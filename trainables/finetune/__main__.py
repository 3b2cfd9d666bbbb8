"""The command `python -m trainables.finetune`."""

from importlib import import_module

from scenelift.config.build import command
from trainables.finetune.config import PRESETS, FinetuneConfig


def run(config: FinetuneConfig) -> None:
    """Train; what that takes to import comes after the command line is understood."""
    import_module("trainables.finetune.task").run(config)


if __name__ == "__main__":
    command(run, FinetuneConfig, PRESETS, "python -m trainables.finetune")
