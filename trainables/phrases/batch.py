"""Captioned images -> a batch: regions, the phrases of some sentences, and a detector's beliefs.

Shapes: I images of R regions (padded); D channels; S sentences; N phrases of all sentences, concatenated, of T
words each; K neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenelift.errors import DataError
from scenelift.samples.caption import CaptionedImage, Phrase, words_of
from scenelift.samples.images import decode, fit


@dataclass(frozen=True)
class WordIndex:
    """The words that a student knows; word i has id i + 1, and 0 is any other."""

    known: tuple[str, ...]
    tokens: int
    """Number of words of a phrase that are read."""

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.known, start=1)}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """[N, T] ids of the words of each phrase, then 0."""
        table = np.zeros((len(texts), self.tokens), np.int64)
        for row, text in zip(table, texts, strict=True):
            ids = [self._ids.get(word, 0) for word in words_of(text)[: self.tokens]]
            row[: len(ids)] = ids
        return table


@dataclass
class PhraseBatch:
    """Input of a training step."""

    features: Tensor  # [I, R, D] float32, 0 for padding
    region_mask: Tensor  # [I, R] bool, False = padding
    neighbours: Tensor  # [I, R, K] int64 neighbours: regions of the same image, -1 = none
    image_id: Tensor  # [I] int64, equal for images of the same photo
    sentence_image: Tensor  # [S] int64 image of each sentence
    words: Tensor  # [N, T] int64 word ids, 0 = unknown or padding. Each phrase has at least one known word
    phrase_sentence: Tensor  # [N] int64
    teacher: Tensor  # [N, R] float32 the detector's belief in the phrase's classes; 0 if it knows none
    tokens: tuple[str, ...]  # [I] names of the images
    texts: tuple[str, ...] = ()  # [N] text of the phrases; only with photos
    photos: Tensor | None = None  # [I, 3, H, W] uint8 RGB, of the size `PhraseCollate.photo_size`
    shares: Tensor | None = None  # [I, R, 4] float32 boxes as fractions of the image; only with photos

    @property
    def phrase_image(self) -> Tensor:
        """[N] int64 image of each phrase."""
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
    """Captioned images to a batch; randomness depends only on (seed, epoch, image)."""

    words: WordIndex
    captions: int = 1
    """Sentences per image and epoch; later epochs use the others."""
    phrases: int = 16
    """At most N phrases per sentence, drawn anew each epoch."""
    distil: bool = True
    """Whether the detector's posteriors are read; DataError if the images have none."""
    neighbours: int = 8
    """How many of the stored neighbours are used."""
    mask_padding: bool = True
    """False: padding counts as regions, as in CKD's code (ckd.md 10.5)."""
    regions: int | None = None
    """Number of regions that images are padded to; None: that of the image with most regions."""
    photo_size: tuple[int, int] | None = None
    """(height, width) of the photos in the batch; None: no photos. DataError if none were kept."""
    seed: int = 0

    def __call__(self, samples: Sequence[CaptionedImage], epoch: int = 0) -> PhraseBatch:
        """Collate I images; DataError for one with more regions than `regions`."""
        largest = max(len(sample.boxes) for sample in samples)
        if self.regions is not None and self.regions < largest:
            raise DataError(
                f"an image has {largest} regions, more than {self.regions}; make shards with --options.regions"
            )
        size = self.regions or largest
        drawn = [self._sentences(sample, epoch) for sample in samples]
        sentences = [(image, sentence) for image, own in enumerate(drawn) for sentence in own]
        phrases = [(number, phrase) for number, (_, sentence) in enumerate(sentences) for phrase in sentence]
        texts = tuple(phrase.text for _, phrase in phrases)
        teacher = torch.zeros(len(phrases), size)
        if self.distil:
            pairs = zip(samples, drawn, strict=True)
            beliefs = [
                _belief(sample, [phrase for sentence in own for phrase in sentence], size)
                for sample, own in pairs
            ]
            teacher = torch.from_numpy(np.concatenate(beliefs))
        tokens = tuple(sample.token for sample in samples)
        ids = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
        regions = [np.ones(len(sample.boxes), bool) for sample in samples]
        batch = PhraseBatch(
            features=_stack([sample.features.astype(np.float32) for sample in samples], size, 0),
            region_mask=_stack(regions, size, not self.mask_padding),
            neighbours=_stack([self._neighbours(sample, size) for sample in samples], size, -1),
            image_id=torch.tensor([ids[token] for token in tokens]),
            sentence_image=torch.tensor([image for image, _ in sentences], dtype=torch.int64),
            words=torch.from_numpy(self.words(texts)),
            phrase_sentence=torch.tensor([number for number, _ in phrases], dtype=torch.int64),
            teacher=teacher,
            tokens=tokens,
        )
        if self.photo_size is not None:
            batch.texts = texts
            batch.photos = torch.from_numpy(
                np.stack([photo_of(sample, self.photo_size) for sample in samples])
            )
            batch.shares = _stack([shares_of(sample) for sample in samples], size, 0)
        return batch

    def _sentences(self, sample: CaptionedImage, epoch: int) -> list[list[Phrase]]:
        """The drawn sentences of an image in this epoch, each as its phrases with a known word."""
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
        return [_draw(sentences[number], self.phrases, rng) for number in chosen.tolist()]

    def _neighbours(self, sample: CaptionedImage, size: int) -> NDArray[np.int16]:
        """[R, K] the stored neighbours; [size, K] with padding if it counts as regions."""
        near = sample.neighbours[:, : self.neighbours]
        if self.mask_padding or len(near) == size:
            return near
        return with_padding(near, size, self.neighbours)


def _draw(phrases: list[Phrase], count: int, rng: np.random.Generator) -> list[Phrase]:
    """At most `count` phrases, in their order."""
    if len(phrases) <= count:
        return phrases
    return [phrases[i] for i in np.sort(rng.choice(len(phrases), count, replace=False)).tolist()]


def with_padding(near: NDArray[np.int16], size: int, count: int) -> NDArray[np.int16]:
    """[size, K] neighbours among R regions and padding up to `size`; near: [R, min(count, R)] of the regions.

    With CKD's +0.001, padding boxes overlap each other completely and regions hardly at all (ckd.md 10.5), so no
    IoU is needed: regions come first for a region, and padding for padding.
    """
    regions, padding = np.split(np.arange(size, dtype=np.int16), [len(near)])
    padded = np.empty((size, min(count, size)), np.int16)
    padded[: len(near), : near.shape[1]] = near
    padded[: len(near), near.shape[1] :] = padding[: padded.shape[1] - near.shape[1]]
    others = np.concatenate([padding, regions])
    for row in padding:
        padded[row] = [row, *others[others != row][: padded.shape[1] - 1]]
    return padded


def photo_of(sample: CaptionedImage, size: tuple[int, int]) -> NDArray[np.uint8]:
    """[3, H, W] RGB photo of an image, resized; DataError if it was not kept."""
    if sample.photo is None:
        raise DataError(f"{sample.token} has no photo; make shards with --options.photos true")
    return np.ascontiguousarray(decode(fit(sample.photo, None, size)).transpose(2, 0, 1))


def shares_of(sample: CaptionedImage) -> NDArray[np.float32]:
    """[R, 4] the regions' boxes as fractions of the image."""
    height, width = sample.size
    return (sample.boxes / [width, height, width, height]).astype(np.float32)


def class_weights(phrases: Sequence[Phrase], classes: int) -> NDArray[np.float32]:
    """[P, C] weight of each of the detector's classes in each phrase."""
    weights = np.zeros((len(phrases), classes), np.float32)
    for row, phrase in zip(weights, phrases, strict=True):
        for number, weight in phrase.classes:
            row[number] = weight
    return weights


def _belief(sample: CaptionedImage, phrases: Sequence[Phrase], size: int) -> NDArray[np.float32]:
    """[P, size] the detector's belief in each phrase's classes for each region, by the classes' weights."""
    if sample.posteriors is None:
        raise DataError(f"{sample.token} has no detector posteriors; train with --distillation.support none")
    weights = class_weights(phrases, sample.posteriors.shape[1])
    belief = np.zeros((len(phrases), size), np.float32)
    used = np.flatnonzero(weights.any(0))
    belief[:, : len(sample.boxes)] = weights[:, used] @ sample.posteriors[:, used].astype(np.float32).T
    return belief


def _stack(arrays: Sequence[NDArray[np.generic]], size: int, fill: float | bool) -> Tensor:
    """[I, size, ...] arrays of different lengths, padded with `fill`; integers become int64."""
    width = max((array.shape[1:] for array in arrays), default=())
    kind = np.int64 if np.issubdtype(arrays[0].dtype, np.integer) else arrays[0].dtype
    padded = np.full((len(arrays), size, *width), fill, kind)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(slice(length) for length in array.shape)] = array
    return torch.from_numpy(padded)
