"""Samples with boxes and sentences, without a browser: rooms with proposals, captioned images with regions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scenelift.geometry.boxes3d import corners
from scenelift.samples.caption import CaptionedImage
from scenelift.samples.images import decode
from scenelift.samples.room import Room
from scenelift.shards.read import Samples
from scenelift.viewer.colors import Color, Coloring
from scenelift.viewer.page import Page
from scenelift.viewer.photos import boxed

BEST, NEXT, TRUE = (90, 200, 110), (235, 150, 60), (240, 240, 245)
"""Colors of the first choice, of the others, and of the true box."""
_BLANK = 60
"""Brightness of an image whose photo was not kept."""
_EDGES = [(a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b) in (1, 2, 4)]


class Grounder(Protocol):
    """A trained student that looks for what a sentence means. A trainable makes one for its kind of samples."""

    @property
    def scale(self) -> str:
        """What its scores are, in words, such as: probability among the room's objects."""

    def __call__(self, sample: Any, sentence: str) -> NDArray[np.float32]:
        """[B] a score for each proposed box of a sample, higher is better; minus infinity for boxes that are never
        chosen. SceneliftError for a sentence that it cannot read."""


@dataclass(frozen=True)
class Choice:
    """A box that a student chose."""

    box: int
    """Index among the sample's proposed boxes."""
    score: float


class BoxExplorer:
    """Rooms or captioned images, and what students find in them."""

    def __init__(self, samples: Samples[Any], grounders: Mapping[str, Grounder]) -> None:
        self.samples, self.grounders = samples, dict(grounders)

    @property
    def names(self) -> Sequence[str]:
        """Of all samples."""
        return self.samples.tokens

    def sample(self, index: int) -> Any:
        """A room or a captioned image."""
        return self.samples.read(index)

    def sentences(self, index: int) -> list[str]:
        """The data's own sentences, or phrases, about a sample; one empty sentence if there are none."""
        sample = self.sample(index)
        if isinstance(sample, Room):
            return list(dict.fromkeys(sentence.text for sentence in sample.sentences)) or [""]
        return list(dict.fromkeys(phrase.text for phrase in sample.phrases)) or [""]

    def find(self, sample: Any, sentence: str, count: int = 3) -> dict[str, list[Choice]]:
        """Student -> its best boxes for a sentence, the best first; at most `count`."""
        if not sentence.strip():
            return {name: [] for name in self.grounders}
        return {name: best(grounder(sample, sentence), count) for name, grounder in self.grounders.items()}

    def page(self, index: int, sentence: str, count: int = 3) -> Page:
        """A sample with the choices of the first student as a page."""
        sample = self.sample(index)
        found = self.find(sample, sentence, count)
        choices = next(iter(found.values()), [])
        title = f"{sample.token}: {sentence}".rstrip(": ")
        if isinstance(sample, Room):
            drawn = room_boxes(sample, sentence, choices)
            lines = [(edges(box), color) for box, _, color in drawn]
            legend = tuple((text, color) for _, text, color in drawn if text)
            colors = {"room": Coloring(sample.colors, legend)}
            return Page(title, sample.points, colors, room_extent(sample), lines=lines)
        none = np.zeros((0, 3), np.float32)
        photo = picture(sample, sentence, choices)
        return Page(title, none, {"photo": Coloring(none.astype(np.uint8), ())}, 1.0, photos=[(title, photo)])


def best(scores: NDArray[np.float32], count: int) -> list[Choice]:
    """The boxes with the highest scores."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [Choice(int(box), float(scores[box])) for box in order if np.isfinite(scores[box])]


Drawn = tuple[NDArray[np.float32], str, Color]
"""Box, text, color."""


def room_boxes(room: Room, sentence: str, choices: Sequence[Choice]) -> list[Drawn]:
    """The boxes [6] of a room to draw for a sentence: the choices, then the true one, if the sentence is the
    data's."""
    drawn: list[Drawn] = [
        (room.boxes[choice.box], f"{rank}: {choice.score:.2f}", BEST if rank == 1 else NEXT)
        for rank, choice in enumerate(choices, 1)
    ]
    true = [one.box for one in room.sentences if one.text == sentence and not np.isnan(one.box).any()]
    return drawn + [(box, "true box", TRUE) for box in true[:1]]


def picture(image: CaptionedImage, phrase: str, choices: Sequence[Choice]) -> NDArray[np.uint8]:
    """[H, W, 3] the photo with the chosen regions, and the true one, if the phrase is the data's."""
    drawn: list[tuple[Sequence[float], str, Color]] = [
        (image.boxes[choice.box].tolist(), f"{choice.score:.2f}", BEST if rank == 1 else NEXT)
        for rank, choice in enumerate(choices, 1)
    ]
    true = [one.box for one in image.phrases if one.text == phrase and one.box is not None]
    blank = np.full((*image.size, 3), _BLANK, np.uint8)
    photo = blank if image.photo is None else decode(image.photo)
    return boxed(photo, [*drawn, *((box, "", TRUE) for box in true[:1])])


def edges(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """[12, 2, 3] the edges of a box [6] (centre, size), metres."""
    return corners(box)[np.array(_EDGES)].astype(np.float32)


def room_extent(room: Room) -> float:
    """Half of the largest side of a room, metres."""
    if not len(room.points):
        return float(np.abs(room.boxes[:, :2]).max()) + 1.0
    return max(0.5, float((room.points.max(0) - room.points.min(0))[:2].max()) / 2)
