"""Captioned images that are made up: random regions, and sentences of a few words."""

import numpy as np

from scenelift.geometry.boxes2d import neighbours
from scenelift.samples.caption import CaptionedImage, Phrase

CLASSES = ("man", "dog", "car")
SIZE = (80, 120)
SENTENCES = (
    ("a man", "a red dog", "the street"),
    ("the dog",),
    ("a blue car", "a man"),
)


def made_up_image(token="a", regions=6, channels=5, count=4, posteriors=True, sentences=SENTENCES):
    """An image whose arrays follow from its token; phrase i of a sentence is in region i."""
    rng = np.random.default_rng(list(token.encode()))
    corner = rng.uniform(0, 60, (regions, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 20, (regions, 2))], 1).astype(np.float32)
    named = {name: number for number, name in enumerate(CLASSES, 1)}
    phrases = [
        Phrase(
            text,
            number,
            ("other",),
            tuple((named[word], 1.0) for word in text.split() if word in named),
            None if text == "the street" else tuple(boxes[i % regions].tolist()),
        )
        for number, sentence in enumerate(sentences)
        for i, text in enumerate(sentence)
    ]
    shares = rng.dirichlet(np.ones(1 + len(CLASSES)), regions)
    return CaptionedImage(
        token=token,
        size=SIZE,
        sentences=tuple(" and ".join(sentence) for sentence in sentences),
        phrases=tuple(phrases),
        boxes=boxes,
        features=rng.gamma(1, 1, (regions, channels)).astype(np.float16),
        posteriors=shares.astype(np.float16) if posteriors else None,
        neighbours=neighbours(boxes, count),
    )


class MadeUpCaptions:
    """A source of made-up images, as shards want it. Small to pickle."""

    name, version, classes = "made-up", "1", CLASSES

    def __init__(self, count):
        self.count = count

    def list_samples(self, split=None):
        return [Key(f"image-{i:04d}") for i in range(self.count)]

    def read(self, keyframe, options):
        return made_up_image(keyframe.token, count=options.neighbours)


class Key:
    def __init__(self, token):
        self.token = token
