"""Whose class names a teacher chooses between: the data set's own, or those of other data sets (Table 3)."""

from __future__ import annotations

from dataclasses import replace

from scenelift.samples.vocabulary import Vocabulary
from trainables.common.config import Prompts

CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)

PAPER_SPELLING = {"traffic cone": "traffic_cone", "other flat": "other_flat"}
"""What the paper's code sends to CLIP with its underscores."""


def named_by(own: Vocabulary, prompts: Prompts) -> Vocabulary:
    """What the student is asked at the end: the data set's classes, by all their words or by the paper's one."""
    if prompts == "words":
        return own
    if prompts != "paper":
        return replace(own, words=tuple(words[:1] for words in own.words))
    return replace(own, words=tuple((PAPER_SPELLING.get(words[0], words[0]),) for words in own.words))


def taught_by(own: Vocabulary, prompts: Prompts) -> Vocabulary:
    """What the teacher chooses between: the same, or the classes of others; `all` is the union of the three.

    A student whose features live in the space of the text can be asked for other classes than it was taught.
    """
    named = named_by(own, prompts)
    if prompts in ("words", "paper"):
        return named
    from datasets.semantickitti.classes import VOCABULARY as SEMANTICKITTI  # of use to these prompts alone

    others = {
        "semantickitti": [words[0] for words in SEMANTICKITTI.words],
        "cityscapes": list(CITYSCAPES),
    }
    others["all"] = [words[0] for words in named.words] + others["semantickitti"] + others["cityscapes"]
    classes = tuple(dict.fromkeys(others[prompts]))
    return Vocabulary(
        name=f"{own.name}-by-{prompts}",
        classes=classes,
        words=tuple((word,) for word in classes),
        colors=((128, 128, 128),) * len(classes),
    )
