"""CLIP as the encoder of regions and phrases: its patches in a box, its text embedding of a phrase, layers on both.

The CLIP is the teacher of `scenelift.teachers.clip`, frozen; its features of images and phrases are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scenelift.samples.caption import CaptionedImage
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.teacher import Teacher
from trainables.phrases.batch import PhraseBatch, WordIndex, photo_of, shares_of
from trainables.phrases.config import EncoderConfig
from trainables.phrases.student import Encoders, layers

PROMPT = "a photo of {}."
MAX_IMAGES, MAX_TEXTS = 2000, 50_000
"""Maximum numbers of cached images and of cached phrases."""
NOTHING = Vocabulary("phrases", ("thing",), (("thing",),), ((0, 0, 0),))
"""A teacher needs at least one class; phrases are encoded later."""


class ClipStudent(Encoders):
    """Two layers on CLIP's region features and two on its phrase features; outputs have unit length."""

    SOURCE = ("teacher", TeacherConfig)

    def __init__(
        self,
        config: EncoderConfig,
        words: tuple[str, ...],
        teacher: TeacherConfig,
        clip: Teacher | None = None,
    ) -> None:
        """clip: the teacher, if it is already built."""
        super().__init__()
        self.config, self.teacher = config, teacher
        self.vocabulary = WordIndex(words, config.tokens)
        # In a tuple, so that it is not a submodule: neither trained nor saved with the student.
        self._clip = (clip or build_teacher(teacher, NOTHING),)
        width = self.clip.text.shape[1]
        self.phrase_layers = layers(width, config.hidden, config.channels)
        self.region_layers = layers(width, config.hidden, config.channels)
        self.images: dict[str, Tensor] = {}
        self.texts: dict[str, Tensor] = {}

    @property
    def clip(self) -> Teacher:
        """The frozen teacher."""
        return self._clip[0]

    @property
    def device(self) -> torch.device:
        """Device of its weights; CLIP is moved there too."""
        return next(self.parameters()).device

    @property
    def photo_size(self) -> tuple[int, int]:
        return self.clip.config.image_size

    def operations(self, regions: int, phrases: int) -> int:
        width, config = self.clip.text.shape[1], self.config
        each = width * config.hidden + config.hidden * config.channels
        return (regions + phrases) * each + regions * phrases * config.channels

    def encode(self, batch: PhraseBatch) -> tuple[Tensor, Tensor]:
        assert batch.photos is not None and batch.shares is not None, "the collate needs photo_size"
        regions = self._regions(batch.tokens, batch.photos, batch.shares)
        texts = self._texts(batch.texts)
        return _unit(self.region_layers(regions)), _unit(self.phrase_layers(texts))

    @torch.inference_mode()
    def ground(self, sample: CaptionedImage) -> NDArray[np.float32]:
        photo = torch.from_numpy(photo_of(sample, self.photo_size))[None].to(self.device)
        shares = torch.from_numpy(shares_of(sample))[None].to(self.device)
        self.clip.to(self.device)
        regions = region_means(self.clip.features(photo), shares)[0]
        texts = self._texts([phrase.text for phrase in sample.phrases])
        cosines = _unit(self.phrase_layers(texts)) @ _unit(self.region_layers(regions)).T
        return cosines.float().cpu().numpy()

    def _regions(self, tokens: Sequence[str], photos: Tensor, shares: Tensor) -> Tensor:
        """[I, R, D] CLIP's features of each region."""

        def encode(new: list[str]) -> Tensor:
            rows = [tokens.index(token) for token in new]
            return region_means(self.clip.features(photos[rows]), shares[rows])

        features = self._cached(self.images, MAX_IMAGES, dict.fromkeys(tokens), encode)
        # Images are cached with the padding of their batch; only padding is cut.
        padding = {token: shares.shape[1] - len(row) for token, row in features.items()}
        return torch.stack([F.pad(features[token], (0, 0, 0, padding[token])) for token in tokens])

    def _texts(self, texts: Sequence[str]) -> Tensor:
        """[N, D] CLIP's embedding of each phrase in a prompt."""

        def encode(new: list[str]) -> Tensor:
            return self.clip.encode_prompts([PROMPT.format(text) for text in new]).clone()

        features = self._cached(self.texts, MAX_TEXTS, sorted(set(texts)), encode)
        rows = [features[text] for text in texts]
        return torch.stack(rows) if rows else self.clip.text.new_zeros(0, self.clip.text.shape[1])

    def _cached(
        self, cache: dict[str, Tensor], limit: int, keys: Iterable[str], encode: Callable[[list[str]], Tensor]
    ) -> dict[str, Tensor]:
        """Key -> its features; new ones are encoded together, and cached as long as there is room."""
        features = {key: cache[key] for key in keys if key in cache}
        new = [key for key in keys if key not in cache]
        if new:
            self.clip.to(self.device)
            encoded = dict(zip(new, encode(new), strict=True))
            cache |= dict(list(encoded.items())[: max(0, limit - len(cache))])
            features |= encoded
        return features


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=-1)


def region_means(grid: Tensor, shares: Tensor) -> Tensor:
    """[I, R, D] mean of CLIP's patches in each box, weighted by the part of the patch inside.

    grid: [I, D, h, w]; shares: [I, R, 4] boxes x1, y1, x2, y2 as fractions of the image. 0 for boxes without area.
    """
    rows = _inside(shares[..., 1], shares[..., 3], grid.shape[2])
    columns = _inside(shares[..., 0], shares[..., 2], grid.shape[3])
    total = torch.einsum("irh,irw,idhw->ird", rows, columns, grid)
    return total / (rows.sum(2) * columns.sum(2)).clamp(min=1e-6)[..., None]


def _inside(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """[I, R, cells] the overlap of each cell of [0, 1] with the interval from low to high [I, R]."""
    edges = torch.linspace(0, 1, cells + 1, device=low.device, dtype=low.dtype)
    shared = torch.minimum(high[..., None], edges[1:]) - torch.maximum(low[..., None], edges[:-1])
    return shared.clamp(min=0)
