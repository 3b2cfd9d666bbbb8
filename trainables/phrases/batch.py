"""Captioned images -> one batch: regions, the phrases of some sentences, and what a detector believes.

Shapes: I images of R regions, the smaller ones padded; D channels; S sentences; N phrases of all sentences one
behind the other, T words each; K neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenelift.errors import DataError
from scenelift.samples.caption import CaptionedImage, Phrase
from scenelift.samples.images import decode, fit
from trainables.phrases.words import WordIndex


@dataclass
class PhraseBatch:
    """What a step sees."""

    features: Tensor
    """[I, R, D] float32, 0 for padding."""
    region_mask: Tensor
    """[I, R] bool, False = padding."""
    neighbours: Tensor
    """[I, R, K] int64 regions of the same image, -1 = none."""
    image_id: Tensor
    """[I] int64, the same for the same photo."""
    sentence_image: Tensor
    """[S] int64 which image a sentence is about."""
    words: Tensor
    """[N, T] int64 numbers of words, 0 = unknown, or none. Each phrase has a known word."""
    phrase_sentence: Tensor
    """[N] int64."""
    teacher: Tensor
    """[N, R] float32 what the detector believes of the phrase's classes, on its own image; 0 if it knows none."""
    tokens: tuple[str, ...]
    """[I] which images these are."""
    texts: tuple[str, ...] = ()
    """[N] the phrases themselves; with photos alone."""
    photos: Tensor | None = None
    """[I, 3, H, W] uint8 RGB, all of the size that was asked for; None: no photos were."""
    shares: Tensor | None = None
    """[I, R, 4] float32 the regions' boxes in shares of the image; with photos alone."""

    @property
    def phrase_image(self) -> Tensor:
        """[N] int64 which image a phrase is about."""
        return self.sentence_image[self.phrase_sentence]

    def to(self, device: torch.device) -> PhraseBatch:
        """The batch on another device."""
        tensors = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **tensors)


@dataclass(frozen=True)
class PhraseCollate:
    """Makes batches; what is random follows from (seed, epoch, image) alone."""

    words: WordIndex
    captions: int = 1
    """Sentences of each image; in the following epochs it is the others' turn."""
    phrases: int = 16
    """At most so many phrases of a sentence, drawn anew each epoch."""
    distil: bool = True
    """Whether the detector is read; DataError where the images have no posteriors."""
    neighbours: int = 8
    """How many of the stored neighbours are taken."""
    mask_padding: bool = True
    """False: padding counts as regions, as in CKD's code (ckd.md 10.5)."""
    regions: int | None = None
    """Regions that images are padded to; none: as many as the largest image of the batch has."""
    photo_size: tuple[int, int] | None = None
    """(height, width) at which photos enter the batch; none: they do not. DataError where none were kept."""
    seed: int = 0

    def __call__(self, samples: Sequence[CaptionedImage], epoch: int = 0) -> PhraseBatch:
        """Collate I images; DataError for one with more regions than `regions`."""
        most = max(len(sample.boxes) for sample in samples)
        if self.regions is not None and self.regions < most:
            raise DataError(
                f"an image has {most} regions, more than {self.regions}; make shards with --regions"
            )
        size = self.regions or most
        drawn = [self._sentences(sample, epoch) for sample in samples]
        phrases = [phrase for sentences in drawn for sentence in sentences for phrase in sentence]
        lengths = [len(sentence) for sentences in drawn for sentence in sentences]
        counts = [len(sentences) for sentences in drawn]
        teacher = [
            _belief(sample, [phrase for sentence in sentences for phrase in sentence], size)
            for sample, sentences in zip(samples, drawn, strict=True)
            if self.distil
        ]
        ids = {token: number for number, token in enumerate(dict.fromkeys(s.token for s in samples))}
        padding = not self.mask_padding
        return PhraseBatch(
            features=_stack([sample.features.astype(np.float32) for sample in samples], size, 0),
            region_mask=_stack(
                [np.ones(len(sample.boxes), bool) for sample in samples], size, float(padding)
            ),
            neighbours=_stack([self._neighbours(sample, size) for sample in samples], size, -1),
            image_id=torch.tensor([ids[sample.token] for sample in samples]),
            sentence_image=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
            words=torch.from_numpy(self.words([phrase.text for phrase in phrases])),
            phrase_sentence=torch.repeat_interleave(
                torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.int64)
            ),
            teacher=torch.from_numpy(np.concatenate(teacher)) if teacher else torch.zeros(len(phrases), size),
            tokens=tuple(sample.token for sample in samples),
            **self._photographed(samples, phrases, size),
        )

    def _photographed(
        self, samples: Sequence[CaptionedImage], phrases: Sequence[Phrase], size: int
    ) -> dict[str, Any]:
        """What CLIP wants of a batch, if anything."""
        if self.photo_size is None:
            return {}
        photos = np.stack([photo_of(sample, self.photo_size) for sample in samples])
        return {
            "texts": tuple(phrase.text for phrase in phrases),
            "photos": torch.from_numpy(photos),
            "shares": _stack([shares_of(sample) for sample in samples], size, 0),
        }

    def _sentences(self, sample: CaptionedImage, epoch: int) -> list[list[Phrase]]:
        """The phrases of the sentences whose turn it is, of those that have some with a known word."""
        usable = self.words([phrase.text for phrase in sample.phrases]) > 0
        sentences: list[list[Phrase]] = [[] for _ in sample.sentences]
        for phrase, known in zip(sample.phrases, usable, strict=True):
            if known.any():
                sentences[phrase.sentence].append(phrase)
        sentences = [sentence for sentence in sentences if sentence]
        if not sentences:
            return []
        key = np.frombuffer(sample.token.encode().ljust(4, b"\0"), np.uint8).tolist()
        turn = np.random.default_rng([self.seed, *key]).permutation(len(sentences))
        first = epoch * self.captions
        chosen = turn[np.arange(first, first + min(self.captions, len(turn))) % len(turn)]
        rng = np.random.default_rng([self.seed, epoch, *key])
        return [self._some(sentences[number], rng) for number in chosen.tolist()]

    def _some(self, phrases: list[Phrase], rng: np.random.Generator) -> list[Phrase]:
        if len(phrases) <= self.phrases:
            return phrases
        return [phrases[i] for i in np.sort(rng.choice(len(phrases), self.phrases, replace=False)).tolist()]

    def _neighbours(self, sample: CaptionedImage, size: int) -> NDArray[np.int16]:
        """Those that were stored; where padding counts, with padding among them."""
        near = sample.neighbours[:, : self.neighbours]
        if self.mask_padding or len(near) == size:
            return near
        return with_padding(near, size, self.neighbours)


def with_padding(near: NDArray[np.int16], size: int, most: int) -> NDArray[np.int16]:
    """[size, K] the neighbours among R regions and padding up to `size`; near: [R, min(most, R)] of the regions.

    With CKD's +0.001 the boxes of padding overlap each other wholly and the regions' hardly (ckd.md 10.5), so
    nothing has to be measured: regions come first to a region, and padding to padding.
    """
    regions, padding = np.split(np.arange(size, dtype=np.int16), [len(near)])
    whole = np.empty((size, min(most, size)), np.int16)
    whole[: len(near), : near.shape[1]] = near
    whole[: len(near), near.shape[1] :] = padding[: whole.shape[1] - near.shape[1]]
    others = np.concatenate([padding, regions])
    for one in padding:
        whole[one] = [one, *others[others != one][: whole.shape[1] - 1]]
    return whole


def photo_of(sample: CaptionedImage, size: tuple[int, int]) -> NDArray[np.uint8]:
    """[3, H, W] RGB the photo of an image, resized; DataError if it was not kept."""
    if sample.photo is None:
        raise DataError(f"{sample.token} has no photo; make shards with --options.photos true")
    return np.ascontiguousarray(decode(fit(sample.photo, None, size)).transpose(2, 0, 1))


def shares_of(sample: CaptionedImage) -> NDArray[np.float32]:
    """[R, 4] the regions' boxes in shares of the image."""
    height, width = sample.size
    return (sample.boxes / [width, height, width, height]).astype(np.float32)


def _belief(sample: CaptionedImage, phrases: Sequence[Phrase], size: int) -> NDArray[np.float32]:
    """[P, size] what the detector believes of each phrase's classes in each region, by their weights."""
    if sample.posteriors is None:
        raise DataError(
            f"{sample.token} has no detector's posteriors; train with --distillation.support none"
        )
    weights = np.zeros((len(phrases), sample.posteriors.shape[1]), np.float32)
    for row, phrase in zip(weights, phrases, strict=True):
        for number, weight in phrase.classes:
            row[number] = weight
    belief = np.zeros((len(phrases), size), np.float32)
    used = np.flatnonzero(weights.any(0))
    belief[:, : len(sample.boxes)] = weights[:, used] @ sample.posteriors[:, used].astype(np.float32).T
    return belief


def _stack(arrays: Sequence[NDArray[np.generic]], size: int, fill: float) -> Tensor:
    """[I, size, ...] arrays of different lengths, filled up; integers become int64."""
    width = max((array.shape[1:] for array in arrays), default=())
    kind = np.int64 if np.issubdtype(arrays[0].dtype, np.integer) else arrays[0].dtype
    whole = np.full((len(arrays), size, *width), fill, kind)
    for row, array in zip(whole, arrays, strict=True):
        row[tuple(slice(length) for length in array.shape)] = array
    return torch.from_numpy(whole)
