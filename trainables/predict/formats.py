"""The formats of benchmark servers, beside those of the library: what a data set's package says of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scenelift.errors import ConfigError
from scenelift.inference.files.outputs import FORMATS, Format, raw
from scenelift.io.console import say

if TYPE_CHECKING:
    from trainables.predict.config import Prediction

BENCHMARKS = ("semantickitti", "nuscenes")


def formats(config: Prediction) -> Mapping[str, Format]:
    """The library's formats, and that of the benchmark that is asked for; ConfigError if it cannot be written."""
    if config.format not in BENCHMARKS:
        return FORMATS | {name: Format("", raw("u1"), "") for name in BENCHMARKS}  # so that they are known
    if config.threshold or config.classes is not None:
        raise ConfigError(
            f"{config.format}'s benchmark wants a class for every point: no --classes, no --threshold"
        )
    make = {"semantickitti": _semantickitti, "nuscenes": _nuscenes}[config.format]
    return FORMATS | {config.format: make(config)}


def _semantickitti(config: Prediction) -> Format:
    from datasets.semantickitti import submission
    from datasets.semantickitti.classes import VOCABULARY

    def finish(folder: Path) -> None:
        count = submission.check(folder, config.root)
        say(f"{count:,} files follow the rules; to upload: cd {folder} && zip -r submission.zip sequences")

    write = raw("<u4", submission.RAW)
    return Format(".label", write, "", classes=VOCABULARY.classes, named=submission.place, finish=finish)


def _nuscenes(config: Prediction) -> Format:
    from datasets.nuscenes import submission
    from datasets.nuscenes.classes import FULL
    from datasets.nuscenes.source import NuScenes

    if config.dataset != "nuscenes" or config.root is None:
        raise ConfigError(
            "nuScenes' benchmark names files by its tables: write --dataset nuscenes --root ROOT --split test"
        )
    split, root = config.split or "all", config.root.expanduser().absolute()
    source = NuScenes(root, config.release)
    keyframes = source.list_samples(config.split)
    tokens = submission.lidar_tokens(root / config.release, keyframes)

    def finish(folder: Path) -> None:
        submission.finish(folder, split)
        count = submission.check(folder, split, submission.point_counts(root, keyframes, tokens))
        say(
            f"{count:,} files follow the rules; to upload: cd {folder} && zip -r submission.zip lidarseg {split}"
        )

    named = partial(_lidarseg, tokens, split)
    return Format(submission.SUFFIX, raw("u1"), "", 16, FULL.classes, named, finish)


def _lidarseg(tokens: Mapping[str, str], split: str, name: str) -> str:
    return f"lidarseg/{split}/{tokens[name]}"
