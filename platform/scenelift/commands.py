"""The command `scenelift` of an installed wheel: labels and the viewer, for people without the repository."""

from __future__ import annotations

import sys
from importlib import import_module

from scenelift import __version__
from scenelift.config.build import nearest
from scenelift.config.cli import exiting, start
from scenelift.errors import ConfigError

COMMANDS = {
    "predict": ("scenelift.inference.config", "scenelift.inference.job", "labels for every point of scans"),
    "explore": (
        "scenelift.viewer.config",
        "scenelift.viewer.run",
        "clouds, photos and labels in the browser",
    ),
}
"""Name -> its settings with `PRESETS`, the module whose `run` does it, what it is for."""


def main() -> None:
    """`scenelift COMMAND [--group.field VALUE ...]`"""
    name, *options = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        lines = (f"  scenelift {each:<10}{about}" for each, (_, _, about) in COMMANDS.items())
        print("\n".join(["usage: scenelift COMMAND [--group.field VALUE ...]\n", *lines]))
        print("\nEach has --help. Training needs the repository.")
        return
    if name == "--version":
        print(__version__)
        return
    with exiting():
        if name not in COMMANDS:
            raise ConfigError(f"unknown command {name}; {nearest(name, COMMANDS)}")
        settings, module, _ = COMMANDS[name]
        start(f"scenelift {name}", import_module(settings).PRESETS, module, options)


if __name__ == "__main__":
    main()
