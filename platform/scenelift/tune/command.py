"""The command of a sweep: an MLflow run of its own, with an ordinary run for each trial. `runs/<sweep>/` holds
the trials' run folders, the ranking, the best config as a file to replay, and pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from scenelift.config import build as configuration
from scenelift.config import cli
from scenelift.config.constraints import shown
from scenelift.errors import ConfigError
from scenelift.tune.config import Sweep, SweepConfig


def main(sweep: Sweep) -> None:
    """Parse the command line and search."""
    with cli.exiting():
        settings, config, given = parse(sweep, sys.argv[1:])
        config.check_here()
        if settings.resume is None:
            cli.check_preset(config, sweep.named_presets(), sys.argv[1:], f"python -m sweeps.{sweep.name}")
        run(sweep, settings, config, given)


def parse(sweep: Sweep, argv: Sequence[str]) -> tuple[SweepConfig, Any, tuple[str, ...]]:
    """The sweep's settings, the trainable's config, and which of its keys were given."""
    presets = sweep.named_presets()
    prog = f"python -m sweeps.{sweep.name}"
    if "-h" in argv or "--help" in argv:
        cli.show_help(sweep.settings, f"{prog} [PRESET] [--group.field VALUE ...]", _help(sweep, presets))
    baseline, rest = cli.divide(argv, {field.name for field in fields(SweepConfig)})
    settings = cli.parse({"": sweep.settings}, baseline, prog)
    if settings.resume is not None:
        if rest or len(baseline) > 2:
            raise ConfigError("--resume NAME takes no other options: a sweep continues with its own settings")
        return _resumed(sweep, settings.resume)
    if {"run.resume", "run.name"} & set(cli.given(rest)):
        raise ConfigError(
            "a sweep names its runs itself: its own name is --name, and --resume NAME continues it"
        )
    config = cli.parse(presets, rest, prog)
    return settings, config, cli.given(rest)


def _help(sweep: Sweep, presets: dict[str, Any]) -> str:
    from scenelift.tune.space import describe

    space = sweep.space(next(iter(presets.values())))
    options = "\n".join(f"  {key:<32}{describe(domain)}" for key, domain in space.items())
    return (
        f"Searches these settings of {sweep.trainable}:\n{options}\n\nPresets: {', '.join(presets)}. "
        f"Options of {sweep.trainable} may be given too; they hold for all trials."
    )


def _resumed(sweep: Sweep, name: str) -> tuple[SweepConfig, Any, tuple[str, ...]]:
    from scenelift.tune.runner import STATE, read_state

    presets = sweep.named_presets()
    storage = next(iter(presets.values())).run.storage
    known = [folder / STATE for folder in (Path(storage) / name, Path(name))]
    path = next((path for path in known if path.exists()), None)
    if path is None:
        sweeps = sorted(path.parent.name for path in Path(storage).glob(f"*/{STATE}"))[-12:]
        known = (
            f"there {'is' if len(sweeps) == 1 else 'are'} {', '.join(sweeps)}" if sweeps else "there is none"
        )
        raise ConfigError(
            f"no sweep {shown(name)} under {storage} to go on with; {known}; --resume takes a name or a folder"
        )
    saved = read_state(path)
    if saved["name"] != sweep.name:
        raise ConfigError(f"{name} is a sweep by sweeps.{saved['name']}, not by sweeps.{sweep.name}")
    try:
        settings = configuration.from_dict(SweepConfig, saved["sweep"])
        config = configuration.from_dict(type(next(iter(presets.values()))), saved["config"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    # Where the sweep lies, not where its file says that it lay: it may have been moved, or be somebody else's.
    config = replace(config, run=replace(config.run, storage=str(path.parent.absolute().parent)))
    return replace(settings, resume=path.parent.absolute().name), config, tuple(map(str, saved["given"]))


def run(sweep: Sweep, settings: SweepConfig, config: Any, given: Sequence[str] = ()) -> Path:
    """Search, and return the sweep's folder. Raises TrainingError if no trial finished."""
    # Ray and torch are imported only after the command line is parsed.
    from scenelift.cluster import connect as cluster
    from scenelift.tune.runner import SweepRun
    from scenelift.tune.space import checked

    space = {key: domain for key, domain in sweep.space(config).items() if key not in given}
    if not space:
        raise ConfigError("all settings that this sweep searches were given as options; nothing is left")
    space = checked(space, config)
    with cluster.connect(dashboard=True):
        return SweepRun(sweep, settings, config, space, tuple(given)).run()
