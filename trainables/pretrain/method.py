"""PPKT and SLidR: a point's feature learns to match the pixel that shows it and no other; no text is needed.

The resulting student does not name classes yet: `trainables.finetune` continues from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scenelift.geometry.segments import sample
from scenelift.nn.student import Student
from scenelift.points.collate import PointBatch
from scenelift.train.method import Method, Progress
from trainables.pretrain import losses as contrast
from trainables.pretrain.config import PretrainConfig
from trainables.pretrain.image_backbone import ImageBackbone


class Pretrain(Method):
    """Contrasts the student's points with the projected pixels of a frozen network."""

    student: Student
    images: ImageBackbone

    def __init__(self, student: Student, images: ImageBackbone, config: PretrainConfig) -> None:
        super().__init__()
        self.student, self.images, self.config = student, images, config
        self.weights = {config.method: 1.0}
        self.cached: dict[str, Tensor] = {}

    def forward(self, batch: PointBatch, progress: Progress) -> dict[str, Tensor]:
        features = self.student(batch.voxels).float()
        images = self._image_features(batch) if len(batch.pair_points) else None
        with torch.autocast(features.device.type, enabled=False):
            if images is None:
                loss = self._no_pairs(features)
            elif self.config.method == "ppkt":
                loss = self._ppkt(batch, features, images)
            else:
                loss = self._slidr(batch, features, images)
        return {self.config.method: loss}

    def _image_features(self, batch: PointBatch) -> Tensor:
        """[I, K, h, w] features of the batch's images, frame by frame if they are cached."""
        if not self.config.images.cache_frames:
            return self.images(batch.images).float()
        frames = []
        for i, token in enumerate(batch.tokens):
            frame = self.cached.get(token)
            if frame is None:
                frame = self.images(batch.images[batch.image_frame == i]).float()
                if len(self.cached) < self.config.images.cache_frames:
                    self.cached[token] = frame
            frames.append(frame)
        return torch.cat(frames)

    def _ppkt(self, batch: PointBatch, features: Tensor, images: Tensor) -> Tensor:
        config, size = self.config, (batch.images.shape[2], batch.images.shape[3])
        # From torch's global generator, which is in checkpoints: a resumed training draws the same.
        drawn = torch.randperm(len(batch.pair_points), device=features.device)[: config.contrast.pairs]
        image, row, column = batch.pair_pixels[drawn].unbind(1)
        # Projecting after the sampling gives the same: the map is linear.
        tokens = sample(images, image, row, column, size, config.images.align_corners)
        pixels = self.student.projections["image"](tokens)
        points = self.student.heads["contrast"](features[batch.pair_voxel[drawn]])
        return contrast.ppkt(points, pixels, config.contrast.temperature)

    def _slidr(self, batch: PointBatch, features: Tensor, images: Tensor) -> Tensor:
        assert batch.superpixels is not None, "SLidR needs Collate.superpixels"
        config, pixels = self.config, batch.pair_pixels
        projected = self.student.projections["image"](images.movedim(1, 3)).movedim(3, 1)
        points = self.student.heads["contrast"](features[batch.pair_voxel])
        align, temperature = config.images.align_corners, config.contrast.temperature
        return contrast.slidr(points, pixels, projected, batch.superpixels, temperature, align)

    def _no_pairs(self, features: Tensor) -> Tensor:
        """0 for a batch without pairs; every parameter gets a gradient, as parallel workers expect."""
        image = self.student.projections["image"]
        assert isinstance(image, torch.nn.Linear)
        pixels = image(features.new_zeros((1, image.in_features)))
        return (self.student.heads["contrast"](features).sum() + pixels.sum()) * 0
