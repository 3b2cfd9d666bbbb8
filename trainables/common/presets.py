"""Presets are made for data sets: without one a command has the settings of the synthetic worlds, and real data
trained with these would give a number without a word of what it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from scenelift.errors import ConfigError, SceneliftError
from scenelift.io.console import say

Suited = Mapping[str, Sequence[str]]
"""Data set -> the presets that are made for it, the usual one first."""
Kind = Literal["frame", "room", "captioned image"]
Own = Callable[[str, bool], list[str]]
"""Folder of shards, and whether a preset is made for their data set -> options with which a preset suits them."""


def require_suited(
    kind: Kind,
    folders: Sequence[str | None],
    suited: Suited,
    preset: str | None,
    program: str,
    options: Sequence[str],
    own: Own = lambda folder, made: [],
) -> None:
    """ConfigError where shards are not of a synthetic world and no preset was named; a warning where the preset is
    of another data set. Reads the manifests alone.

    program, options: the command line without the preset.
    """
    for folder in folders:
        manifest = None if folder is None else _read(folder)
        if folder is None or manifest is None or manifest.get("kind", kind) != kind:
            continue  # the training itself says what is wrong with such a folder
        dataset, version = str(manifest.get("dataset")), str(manifest.get("dataset_version"))
        presets = suited.get(dataset, ())
        if version.endswith("synthetic") and presets:
            continue
        if preset is None:
            said = (
                f"{folder} holds {dataset} {version}, and without a preset a command has the settings of the "
            )
            raise ConfigError(
                f"{said}synthetic world; {_advice(dataset, folder, suited, program, options, own)}"
            )
        if preset.startswith(("synthetic", "paper_synthetic")):
            say(f"warning: {folder} holds {dataset} {version}, and {preset} is for the synthetic world")
        elif presets and preset not in presets:
            say(
                f"warning: {folder} holds {dataset} {version}, and {preset} is for other data; made for it: "
                f"{', '.join(presets)}"
            )


def _advice(dataset: str, folder: str, suited: Suited, program: str, options: Sequence[str], own: Own) -> str:
    presets = suited.get(dataset, ())
    given = {word for word in options if word.startswith("--")}
    flags: list[str] = []
    taken = False
    for word in own(folder, bool(presets)):
        taken = word not in given if word.startswith("--") else taken
        flags += [word] if taken else []
    first = (presets or next(iter(suited.values())))[0]
    line = shlex.join([*program.split(), first, *options, *flags])
    if presets:
        others = f" (or with {', '.join(presets[1:])})" if presets[1:] else ""
        return f"name the preset: {line}{others}"
    known = ", ".join(dict.fromkeys(name for presets in suited.values() for name in presets))
    return (
        f"no preset is made for {dataset} (there are {known}), so start from one and say what differs, such as: "
        f"{line} (docs/your_own_data.md, Training)"
    )


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


def own_frames(folder: str, made: bool, labels: bool = False) -> list[str]:
    """Options of a training on frames; made: whether a preset is made for the data set; labels: of a training on
    labels."""
    from datasets.common.following import distill_options, finetune_options
    from scenelift.samples.frame import FRAME, FrameSet
    from scenelift.samples.kind import Manifest

    values = _read(folder)
    try:
        manifest = Manifest.from_json(json.dumps(values), folder, FRAME)
        largest = 0.0 if made else _largest(folder)
        if labels:
            return finetune_options(manifest, largest, made)
        return distill_options(manifest, FrameSet.of(manifest), largest, made)
    except (SceneliftError, KeyError):  # the training itself says what is wrong with them
        return []


def _largest(folder: str) -> float:
    """Of the points' features in a frame."""
    import numpy as np

    from scenelift.shards.read import Shards

    return float(np.abs(Shards.open(folder).read(0).features).max(initial=0))
