"""Which shards a training reads: those that are named, or a synthetic world's, made at first use."""

from __future__ import annotations

from collections.abc import Callable

from scenelift.errors import ConfigError
from scenelift.runs.config import DataConfig


def places(data: DataConfig, synthetic: Callable[[str], str], test: str = "val") -> tuple[str, str | None]:
    """Folders of the training and the test shards; None: nothing is scored.

    synthetic: makes the synthetic shards of a split and returns their folder; test: its split to score on.
    Raises ConfigError for test shards alone.
    """
    if data.train is not None:
        return data.train, data.test
    if data.test is not None:
        raise ConfigError("data.test is given without data.train; name both, or neither for synthetic data")
    return synthetic("train"), synthetic(test)
