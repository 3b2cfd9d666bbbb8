"""The vocabulary of the tiny teacher, and the captions of a batch of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.nuscenes.classes import FULL
from scenelift.samples.vocabulary import TEMPLATES, Vocabulary

NAMES: Vocabulary = FULL
"""The words that captions are made of: those that students are prompted with."""

ABSENT = (
    "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "desk", "curtain",
    "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "cabinet", "counter", "bicyclist",
    "motorcyclist", "train",
)  # fmt: skip
"""Words of other data sets for things that the synthetic streets lack; captions that fit no region."""

NEUTRAL = (
    "floor", "other furniture", "other vehicle", "rider", "parking", "other ground", "fence", "trunk",
    "traffic sign", "traffic light", "sky",
)  # fmt: skip
"""Words of other data sets that may occur in prompts, though no caption ever names them."""

MOST_NAMES = 3
"""Classes named in a caption; more would not fit the context."""


def sentences() -> list[str]:
    """Every prompt that the tokenizer must know."""
    words = [word for group in NAMES.words for word in group]
    words += [*NAMES.classes, *ABSENT, *NEUTRAL, "and"]
    return [template.format(word) for template in (*TEMPLATES["tiny"], "{}") for word in words]


def caption(names: Sequence[tuple[str, ...]], rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """Distinct captions [U], those that fit a region first, and the caption of each region [R].

    A batch uses one word per class and one template: otherwise equal regions would have different captions, and no
    assignment would be correct. Captions of absent classes and things follow.
    """
    words = {name: str(rng.choice(group)) for name, group in zip(NAMES.classes, NAMES.words, strict=True)}
    template = str(rng.choice(TEMPLATES["tiny"]))
    phrases = [" and ".join(words[name] for name in region[:MOST_NAMES]) for region in names]
    distinct = list(dict.fromkeys(phrases))
    target = [distinct.index(phrase) for phrase in phrases]
    others = [*words.values(), *rng.choice(ABSENT, 4, replace=False).tolist()]
    return [template.format(phrase) for phrase in dict.fromkeys([*distinct, *others])], target
