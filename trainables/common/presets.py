"""Presets are made for data sets: without one a command has the settings of the synthetic worlds, and real data
trained with these would give a number without a word of what it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from scenelift.errors import ConfigError, SceneliftError
from scenelift.io.console import say
from trainables.common.own import OWN

Suited = Mapping[str, Sequence[str]]
"""Data set -> the presets that are made for it, the usual one first."""
Kind = Literal["frame", "room", "captioned image"]
OptionsFor = Callable[[str], list[str]]
"""Folder of shards that a preset is made for -> options with which it suits them."""


def require_suited(
    kind: Kind,
    folders: Sequence[str | None],
    suited: Suited,
    preset: str | None,
    program: str,
    options: Sequence[str],
    options_for: OptionsFor | None = None,
) -> None:
    """ConfigError where shards are not of a synthetic world and no preset was named; a warning where the preset is
    of another data set. Reads the manifests alone.

    program, options: the command line without the preset; options_for: of a command that has the preset `own` too.
    """
    for folder in folders:
        manifest = None if folder is None else _read(folder)
        if folder is None or manifest is None or manifest.get("kind", kind) != kind:
            continue  # the training itself says what is wrong with such a folder
        dataset, version = str(manifest.get("dataset")), str(manifest.get("dataset_version"))
        presets = suited.get(dataset, ())
        if preset == OWN:
            continue
        if version.endswith("synthetic") and presets:
            continue
        if preset is None:
            said = (
                f"{folder} holds {dataset} {version}, and without a preset a command has the settings of the "
            )
            raise ConfigError(
                f"{said}synthetic world; {_advice(dataset, folder, suited, program, options, options_for)}"
            )
        if preset.startswith(("synthetic", "paper_synthetic")):
            say(f"warning: {folder} holds {dataset} {version}, and {preset} is for the synthetic world")
        elif presets and preset not in presets:
            say(
                f"warning: {folder} holds {dataset} {version}, and {preset} is for other data; made for it: "
                f"{', '.join(presets)}"
            )


def _advice(
    dataset: str,
    folder: str,
    suited: Suited,
    program: str,
    options: Sequence[str],
    options_for: OptionsFor | None,
) -> str:
    presets = suited.get(dataset, ())
    known = ", ".join(dict.fromkeys(name for presets in suited.values() for name in presets))
    if presets:
        line = _line(program, presets[0], options, [] if options_for is None else options_for(folder))
        others = f" (or with {', '.join(presets[1:])})" if presets[1:] else ""
        return f"name the preset: {line}{others}"
    if options_for is not None:
        line = _line(program, OWN, options, [])
        return f"no preset is made for {dataset} (there are {known}); own is made from the shards: {line}"
    line = _line(program, next(iter(suited.values()))[0], options, [])
    return (
        f"no preset is made for {dataset} (there are {known}), so start from one and say what differs, such as: "
        f"{line}"
    )


def _line(program: str, preset: str, options: Sequence[str], more: Sequence[str]) -> str:
    """The command with a preset, and further options that are not given yet."""
    given = {word for word in options if word.startswith("--")}
    flags: list[str] = []
    taken = False
    for word in more:
        taken = word not in given if word.startswith("--") else taken
        flags += [word] if taken else []
    return shlex.join([*program.split(), preset, *options, *flags])


def _read(folder: str) -> dict[str, Any] | None:
    """The manifest; None if there is none that can be read."""
    from scenelift.io import storage
    from scenelift.samples.kind import MANIFEST

    try:
        filesystem, inner = storage.resolve(folder)
        values = json.loads(storage.read_bytes(filesystem, storage.join(inner, MANIFEST)))
    except (SceneliftError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def frame_options(folder: str, labels: bool = False) -> list[str]:
    """Options with which a training on frames suits its preset; labels: of a training on labels."""
    from datasets.common.following import distill_options, finetune_options
    from scenelift.samples.frame import FRAME, FrameSet
    from scenelift.samples.kind import Manifest

    values = _read(folder)
    try:
        manifest = Manifest.from_json(json.dumps(values), folder, FRAME)
        if labels:
            return finetune_options(manifest, 0.0, True)
        return distill_options(manifest, FrameSet.of(manifest), 0.0, True)
    except (SceneliftError, KeyError):  # the training itself says what is wrong with them
        return []
