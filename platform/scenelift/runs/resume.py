"""Going on with a run: it keeps its own settings, and few of them may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from scenelift.config import files
from scenelift.config.build import flatten, nearest, override, written
from scenelift.errors import ConfigError
from scenelift.io import storage
from scenelift.io.console import say
from scenelift.io.secrets import addresses

T = TypeVar("T")
CONFIG = "config.yaml"
"""In a run's folder: its settings."""
MAY_CHANGE = (
    *("run.", "scale.", "tracking.uri", "tracking.system_metrics"),  # where it is kept and computed
    *("data.train", "data.test"),  # shards may have moved; other ones are refused by their checksums
    *(
        "loop.checkpoint_every",
        "loop.keep",
        "loop.log_every",
        "loop.watch.gradient_norm",
    ),  # what is written down
    *("optimizer.lr", "optimizer.head_lr", "optimizer.clip_norm"),  # the remedy for a loss that is not finite
)
"""Keys, or groups of keys, that may be given beside `--run.resume true`. Everything else makes another experiment:
more epochs, for one, change the learning rate of those that were trained already."""
ONCE = {"loop.stop_after": None, "loop.preflight_steps": 0, "loop.watch.profile": None}
"""Keys that hold for one start of a run and are not inherited, with the values they then have."""


def own_settings(config: T, values: Mapping[str, Any], chosen: str | None) -> T:
    """The settings of the run that is to be resumed, or the config itself where none is.

    values: options by key, which apply on top of what is returned; chosen: the preset or file that the config is,
    if one was named. ConfigError where there is no such run, or for settings of another experiment.
    """
    asked: Any = override(config, {key: value for key, value in values.items() if key.startswith("run.")})
    name, place = asked.run.name, asked.run.storage
    if not asked.run.resume:
        return config
    path = storage.join(storage.join(place, str(name)), CONFIG)
    if name is None or not storage.exists(*storage.resolve(path)):
        raise ConfigError(f"no run {name or 'without a name'} under {place} to resume; {_known(place, name)}")
    own = files.load(type(config), path)
    kept = {key: value for key, value in flatten(asked).items() if key.startswith("run.")}
    own = override(own, kept | {key: value for key, value in ONCE.items() if key in flatten(own)})
    before, after = flatten(own), flatten(override(own, dict(values)))
    changed = {key: value for key, value in after.items() if addresses(value) != addresses(before[key])}
    _refuse(name, before, {key: value for key, value in changed.items() if not _free(key)}, "leave that out")
    if chosen is not None:
        given = (*values, *(f"{key}." for key in values))
        theirs = {key: value for key, value in flatten(config).items() if value != before[key]}
        other = {key: value for key, value in theirs.items() if not _free(key) and not _among(key, given)}
        _refuse(name, before, other, f"leave out {chosen}")
    say(f"{name} goes on with its own settings" + (f" and {written(changed)}" if changed else ""))
    return own


def _free(key: str) -> bool:
    return _among(key, (*MAY_CHANGE, *ONCE))


def _among(key: str, listed: Iterable[str]) -> bool:
    """Whether a list has the key, or a group that it is in."""
    return any(key == each or (each.endswith(".") and key.startswith(each)) for each in listed)


def _refuse(name: str, own: Mapping[str, Any], other: Mapping[str, Any], advice: str) -> None:
    if other:
        few = dict(list(other.items())[:3])
        has = written({key: own[key] for key in few})
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise ConfigError(
            f"{name} has {has}, not {written(few)}{more}, which would be another experiment; {advice}, or give "
            "the run a new name"
        )


def _known(place: str, name: str | None) -> str:
    """The runs that there are, as advice."""
    filesystem, folder = storage.resolve(place)
    names = [
        each
        for each in storage.list_folders(filesystem, folder)
        if storage.exists(filesystem, storage.join(storage.join(folder, each), CONFIG))
    ]
    if not names:
        return "there is none; check --run.storage"
    close = nearest(name, names) if name else ""
    listed = f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[-12:])}"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (
        f"{close} {listed}{more}" if close.startswith("did") else f"{listed}{more}; give one with --run.name"
    )
