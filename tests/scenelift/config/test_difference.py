"""A run's name and tags say which options turn a preset into it: all of them, and no more than are needed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import pytest

from scenelift.config import build as configuration
from scenelift.config.build import difference, settings, title, written
from scenelift.nn.config import NETWORKS, NetworkConfig
from scenelift.runs.config import RunConfig
from scenelift.train.config import LoopConfig


@dataclass(frozen=True)
class Tree:
    """A config with a group that may be named, and with settings that are no settings."""

    network: NetworkConfig = NETWORKS["spvcnn"]
    """The network."""
    loop: LoopConfig = LoopConfig()
    """The loop."""
    run: RunConfig = RunConfig()
    """The run."""
    size: tuple[int, int] | None = None
    """A size."""
    flip: bool = False
    """A switch."""


PRESETS = {
    "small": Tree(NETWORKS["tiny"], LoopConfig(epochs=3)),
    "large": Tree(),
    "flipped": Tree(flip=True, size=(2, 3), loop=LoopConfig(batch=8)),
}
NETWORK_OF_OURS = NetworkConfig(stem=7, encoder=(8, 9), decoder=(9, 8))


def any_tree(draw: random.Random) -> Tree:
    loop = LoopConfig(
        epochs=draw.choice((3, 20, 21)),
        batch=draw.choice((4, 8)),
        seed=draw.choice((0, 1)),
        keep=draw.choice((2, 3)),
    )
    network = draw.choice((*NETWORKS.values(), NETWORK_OF_OURS, replace(NETWORKS["tiny"], engine="torch")))
    size = draw.choice((None, (2, 3), (4, 5)))
    return Tree(network, loop, RunConfig(draw.choice((None, "a"))), size, draw.choice((False, True)))


def needed(preset: Tree, config: Tree) -> int:
    """Options that a user would have to give, counted group by group."""
    same = [
        config.loop.epochs == preset.loop.epochs,
        config.loop.batch == preset.loop.batch,
        config.loop.seed == preset.loop.seed,
        config.size == preset.size,
        config.flip == preset.flip,
    ]
    if config.network in NETWORKS.values():
        return same.count(False) + (config.network != preset.network)
    ours, theirs = vars(config.network), vars(preset.network)
    return same.count(False) + sum(ours[key] != theirs[key] for key in ours)


@pytest.mark.parametrize("seed", range(100))
def test_the_options_lead_from_the_nearest_preset_to_the_config(seed: int) -> None:
    config = any_tree(random.Random(seed))
    name, options = difference(config, PRESETS)
    made = configuration.override(PRESETS[name], options)
    made = replace(made, run=config.run, loop=replace(made.loop, keep=config.loop.keep))
    assert made == config
    assert len(options) == min(needed(preset, config) for preset in PRESETS.values())


def test_what_only_says_where_and_how_is_no_difference() -> None:
    config = replace(Tree(), run=RunConfig("a", "elsewhere"), loop=LoopConfig(keep=9, checkpoint_every=1))
    assert difference(config, PRESETS) == ("large", {})
    kept = {"data.absent_classes": "count as one", "loss.grid": 0.1}
    left = {"data.train": "a", "data.test": "b", "scale.workers": 2, "tracking.uri": "c", "run.name": "d"}
    assert settings(kept | left) == kept


def test_of_equally_near_presets_the_first_is_named() -> None:
    assert difference(Tree(), {"one": Tree(), "two": Tree()})[0] == "one"


def test_options_are_written_as_a_user_gives_them() -> None:
    options: dict[str, Any] = {"size": (224, 416), "start": None, "flip": True, "network": "tiny", "lr": 1e-2}
    assert written(options) == "size=224,416 start=none flip=true network=tiny lr=0.01"
    assert written({}) == ""


@pytest.mark.parametrize("count", [0, 1, 5, 50])
def test_a_title_keeps_the_folder_and_whole_options(count: int) -> None:
    options = {f"group.option_{i}": i for i in range(count)}
    said = title("distill-20261120-151218", "synthetic", written(options))
    assert len(said) <= 250 and said.endswith(" (distill-20261120-151218)")
    words = said.removesuffix(" (distill-20261120-151218)").split()
    wanted = ["synthetic", *written(options).split()]
    assert words == wanted or (words[-1] == "..." and words[:-1] == wanted[: len(words) - 1])
