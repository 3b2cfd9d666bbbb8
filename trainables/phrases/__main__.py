"""The command `python -m trainables.phrases`."""

from importlib import import_module

from scenelift.config.build import command
from trainables.phrases.config import PRESETS, PhrasesConfig


def run(config: PhrasesConfig) -> None:
    """Train; what that takes to import comes after the command line is understood."""
    import_module("trainables.phrases.task").run(config)


if __name__ == "__main__":
    command(run, PhrasesConfig, PRESETS, "python -m trainables.phrases")
