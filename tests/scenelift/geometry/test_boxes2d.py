"""Boxes: overlaps against a count of pixels, unions, and which regions are near which."""

import numpy as np

from scenelift.geometry.boxes2d import area, clip, iou, neighbours, union


def counted(one, other):
    """IoU of boxes with whole corners, pixel by pixel."""
    grid = [np.zeros((40, 40), bool) for _ in range(2)]
    for mask, (x1, y1, x2, y2) in zip(grid, (one, other), strict=True):
        mask[y1:y2, x1:x2] = True
    both, any_ = (grid[0] & grid[1]).sum(), (grid[0] | grid[1]).sum()
    return both / any_ if any_ else 0.0


def random_boxes(rng, count):
    corners = np.sort(rng.integers(0, 40, (count, 2, 2)), 1)
    return corners.reshape(count, 4)


def test_iou_is_that_of_pixels():
    rng = np.random.default_rng(0)
    some, others = random_boxes(rng, 12), random_boxes(rng, 9)
    wanted = [[counted(one, other) for other in others] for one in some]
    np.testing.assert_allclose(iou(some, others), wanted, atol=1e-12)


def test_boxes_without_area_overlap_with_nothing_even_themselves():
    assert iou([[3, 3, 3, 3]], [[3, 3, 3, 3], [0, 0, 9, 9]]).tolist() == [[0, 0]]


def widened(some, others, by=0.001):
    """IoU as the authors' code has it: widths and heights of both boxes, and of what they share, are larger."""
    low, high = (
        np.maximum(some[:, None, :2], others[None, :, :2]),
        np.minimum(some[:, None, 2:], others[None, :, 2:]),
    )
    shared = np.maximum(high - low + by, 0).prod(2)
    sizes = [(boxes[:, 2:] - boxes[:, :2] + by).prod(1) for boxes in (some, others)]
    return shared / (sizes[0][:, None] + sizes[1][None, :] - shared)


def test_the_authors_widening_matters_for_boxes_in_shares_alone():
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 300, (50, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 150, (50, 2))], 1)
    assert np.abs(widened(boxes, boxes) - iou(boxes, boxes)).max() < 1e-3
    tiny = np.array([[0.1, 0.1, 0.102, 0.102], [0.102, 0.1, 0.104, 0.102]])
    assert abs(widened(tiny, tiny)[0, 1] - iou(tiny, tiny)[0, 1]) > 0.1
    padding = np.zeros((2, 4))
    assert widened(padding, padding)[0, 1] == 1 and iou(padding, padding)[0, 1] == 0


def test_the_union_holds_all_and_no_more():
    assert union([[158, 124, 218, 334], [196, 109, 260, 372]]).tolist() == [158, 109, 260, 372]


def test_clipping_leaves_what_is_inside_and_no_area_outside():
    clipped = clip([[-5, -5, 10, 10], [500, 0, 600, 10], [0, 0, 30, 20]], (20, 30))
    assert clipped.tolist() == [[0, 0, 10, 10], [30, 0, 30, 10], [0, 0, 30, 20]]
    assert area(clipped).tolist() == [100, 0, 600]


def test_a_region_is_its_own_first_neighbour_even_among_equal_boxes():
    boxes = np.array([[0, 0, 10, 10]] * 10 + [[50, 50, 60, 60]], np.float32)
    near = neighbours(boxes, 8)
    assert near.dtype == np.int16 and near.shape == (11, 8)
    assert (near[:, 0] == np.arange(11)).all()
    assert near[9].tolist() == [9, 0, 1, 2, 3, 4, 5, 6], "equal ones in their order"
    assert near[10].tolist() == [10, 0, 1, 2, 3, 4, 5, 6]


def test_neighbours_are_those_with_the_largest_iou():
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 50, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (30, 2))], 1).astype(np.float32)
    overlap = iou(boxes, boxes)
    for region, near in enumerate(neighbours(boxes, 8)):
        assert len(set(near.tolist())) == 8
        assert overlap[region, near].tolist() == np.sort(overlap[region])[::-1][:8].tolist()
    assert neighbours(boxes[:3], 8).shape == (3, 3), "no more than there are"
