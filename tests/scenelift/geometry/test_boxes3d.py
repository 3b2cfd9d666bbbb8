"""Protects the overlap of boxes: against counting cells, and for boxes without volume."""

import numpy as np

from scenelift.geometry.boxes3d import corners, from_corners, iou


def test_overlap_is_what_counting_cells_gives():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 6, (40, 2, 3))
    high = low + rng.integers(1, 6, (40, 2, 3))
    boxes = np.concatenate([(low + high) / 2, high - low], 2)
    cells = np.stack(np.meshgrid(*[np.arange(12) + 0.5] * 3, indexing="ij"), -1).reshape(-1, 3)
    for pair, (first, second) in zip(boxes, zip(low, high, strict=True), strict=True):
        inside = [((cells > first[i]) & (cells < second[i])).all(1) for i in (0, 1)]
        counted = (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()
        np.testing.assert_allclose(iou(pair[0], pair[1]), counted, atol=1e-6)


def test_overlap_is_symmetric_and_one_with_itself():
    boxes = np.random.default_rng(1).uniform(0.5, 2, (30, 6))
    table = iou(boxes[:, None], boxes)
    np.testing.assert_allclose(table, table.T)
    np.testing.assert_allclose(table.diagonal(), 1, atol=1e-6)


def test_boxes_without_volume_or_place_overlap_with_nothing():
    box = np.array([0, 0, 0, 1, 1, 1], float)
    assert iou(np.array([0, 0, 0, 0, 1, 1.0]), box) == 0
    assert iou(np.full(6, np.nan), box) == 0


def test_corners_and_back():
    boxes = np.random.default_rng(2).uniform(0.5, 2, (5, 6)).astype(np.float32)
    eight = corners(boxes)
    assert eight.shape == (5, 8, 3) and len(np.unique(eight[0], axis=0)) == 8
    np.testing.assert_allclose(from_corners(eight), boxes, atol=1e-6)
