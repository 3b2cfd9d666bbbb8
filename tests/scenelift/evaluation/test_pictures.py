"""Protects what the pictures say: right colors in the right places, legends of what occurs, nothing hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from scenelift.errors import StorageError
from scenelift.evaluation import pictures, plots
from scenelift.evaluation.pictures import (
    RIGHT,
    WRONG,
    birds_eye,
    camera_labels,
    class_against_rest,
    error_maps,
    errors,
    legend_layout,
    occurring,
)
from scenelift.samples.vocabulary import Vocabulary

RED, BLUE, GREEN = (250, 10, 20), (5, 15, 240), (20, 200, 30)


def vocabulary(classes: int = 3) -> Vocabulary:
    colors = (RED, BLUE, GREEN, *((10 * c, 90, 255 - 10 * c) for c in range(classes - 3)))
    names = tuple(f"class_{c}" for c in range(1, classes + 1))
    return Vocabulary("test", names, tuple((name,) for name in names), colors[:classes])


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def pixels(image: NDArray[np.uint8], color: tuple[int, ...]) -> int:
    return int((image == np.array(color, np.uint8)).all(axis=2).sum())


def grid(side: int, extent: float) -> NDArray[np.float32]:
    """Points on a square grid, apart enough not to touch in a picture."""
    line = np.linspace(-0.8, 0.8, side) * extent
    x, y = np.meshgrid(line, line)
    return np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], axis=1).astype(np.float32)


def test_errors_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 500)).astype(np.uint8)
    expected = [0 if t == 0 else RIGHT if t == p else WRONG for t, p in zip(truth, prediction, strict=True)]
    assert errors(truth, prediction).tolist() == expected
    assert errors(truth, prediction).dtype == np.uint8


def test_only_classes_that_occur_in_some_array_are_listed() -> None:
    labels = np.array([[0, 3], [3, 0]], np.uint8), np.array([1, 0], np.uint8)
    assert occurring(vocabulary(), *labels) == [1, 3]
    assert occurring(vocabulary(), np.zeros(0, np.uint8)) == []
    assert pictures.class_entries(vocabulary(), [1, 3]) == [("class 1", "#fa0a14"), ("class 3", "#14c81e")]


def test_a_legend_wraps_where_the_figure_ends() -> None:
    entries = [("a long name of a class", "#000000")] * 20
    columns, height = legend_layout(entries, 14.0)
    narrow_columns, narrow_height = legend_layout(entries, 5.0)
    assert 1 < narrow_columns < columns < 20 and narrow_height > height
    assert legend_layout(entries[:1], 14.0)[0] == 1


def test_the_legend_shows_no_class_that_does_not_occur(tmp_path: Path) -> None:
    points = grid(5, 10.0)
    birds_eye(tmp_path / "a.png", points, {"truth": np.full(25, 1, np.uint8)}, vocabulary(), 10.0)
    image = read(tmp_path / "a.png")
    assert pixels(image, RED) > 25 and pixels(image, BLUE) == 0 == pixels(image, GREEN)


def test_wrong_points_are_red_in_proportion(tmp_path: Path) -> None:
    points, truth = grid(10, 20.0), np.full(100, 2, np.uint8)
    wrong_color = tuple(bytes.fromhex(pictures._WRONG_COLOR[1:]))
    counts = {}
    for wrong in (0, 20, 40):
        prediction = truth.copy()
        prediction[:wrong] = 3
        judged = errors(truth, prediction)
        birds_eye(tmp_path / "e.png", points, {"truth": truth}, vocabulary(), 20.0, judged)
        counts[wrong] = pixels(read(tmp_path / "e.png"), wrong_color)
    assert counts[40] - counts[0] == pytest.approx(2 * (counts[20] - counts[0]), rel=0.15)
    assert counts[20] > counts[0] + 20


def test_error_maps_show_each_students_own_errors(tmp_path: Path) -> None:
    points, truth = grid(10, 20.0), np.full(100, 2, np.uint8)
    wrong_color = tuple(bytes.fromhex(pictures._WRONG_COLOR[1:]))
    judged = {}
    for name, wrong in (("one", 10), ("other", 60)):
        prediction = np.where(np.arange(100) < wrong, 3, truth).astype(np.uint8)
        judged[name] = errors(truth, prediction)
    error_maps(tmp_path / "e.png", points, judged, 20.0)
    image = read(tmp_path / "e.png")
    above = image[: int(0.85 * len(image))]  # without the legend
    left, right = np.array_split(above, 2, axis=1)
    assert pixels(right, wrong_color) == pytest.approx(6 * pixels(left, wrong_color), rel=0.2)
    assert pixels(left, wrong_color) > 10


def test_one_class_is_colored_against_a_grey_rest(tmp_path: Path) -> None:
    """A row for each class, a column for each panel; no color of a class in another's row."""
    points, truth = grid(10, 20.0), np.repeat(np.array([1, 2], np.uint8), 50)
    panels = {"truth": truth, "student": np.full(100, 2, np.uint8)}
    class_against_rest(tmp_path / "c.png", points, panels, vocabulary(), [1, 2], 20.0)
    image = read(tmp_path / "c.png")
    above = image[: int(0.9 * len(image))]  # without the legend
    (first_truth, first_student), (second_truth, second_student) = (
        np.array_split(row, 2, axis=1) for row in np.array_split(above, 2)
    )
    counts = [[pixels(part, color) for color in (RED, BLUE)] for part in (first_truth, second_truth)]
    assert counts[0][0] > 50 and counts[1][1] > 50 and counts[0][1] == counts[1][0] == 0
    assert pixels(first_student, RED) == 0, "the student never says it"
    assert pixels(second_student, BLUE) == pytest.approx(2 * counts[1][1], rel=0.15)
    assert pixels(image, GREEN) == 0


def test_higher_points_lie_over_lower_ones_and_labeled_over_others(tmp_path: Path) -> None:
    """Each pair of points has one place; whatever the order in the file, the upper one is seen."""
    below, above = grid(6, 10.0), grid(6, 10.0)
    above[:, 2] = 2.0
    one, two = np.full(36, 1, np.uint8), np.full(36, 2, np.uint8)
    for order in (slice(None), slice(None, None, -1)):
        points = np.concatenate([above, below])[order]
        labels = np.concatenate([one, two])[order]
        birds_eye(tmp_path / "z.png", points, {"truth": labels}, vocabulary(), 10.0)
        image = read(tmp_path / "z.png")
        assert pixels(image, RED) - pixels(image, BLUE) > 36, "their dots in the legend are equal"
    labels[labels == 1] = 0
    birds_eye(tmp_path / "z.png", points, {"truth": labels}, vocabulary(), 10.0)
    hidden = pixels(read(tmp_path / "z.png"), tuple(bytes.fromhex(pictures.FAINT[1:])))
    labels[labels == 2] = 0
    birds_eye(tmp_path / "z.png", points, {"truth": labels}, vocabulary(), 10.0)
    assert pixels(read(tmp_path / "z.png"), tuple(bytes.fromhex(pictures.FAINT[1:]))) > hidden + 36


def test_points_outside_the_extent_count_neither_in_the_view_nor_in_the_legend(tmp_path: Path) -> None:
    points = np.array([[0.0, 3.0, 0.0], [60.0, 0.0, 0.0]], np.float32)
    birds_eye(tmp_path / "o.png", points, {"truth": np.array([1, 2], np.uint8)}, vocabulary(), 50.0)
    assert pixels(read(tmp_path / "o.png"), BLUE) == 0 < pixels(read(tmp_path / "o.png"), RED)


def test_a_frame_without_points_or_labels_still_makes_a_picture(tmp_path: Path) -> None:
    none = np.zeros(0, np.uint8)
    birds_eye(tmp_path / "n.png", np.zeros((0, 3), np.float32), {"truth": none}, vocabulary(), 30.0, none)
    assert read(tmp_path / "n.png").size


@pytest.mark.parametrize(("views", "height", "width"), [(4, 112, 192), (6, 224, 416), (1, 50, 40)])
def test_labels_are_drawn_on_the_camera_they_belong_to(
    tmp_path: Path, views: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(0)
    images = np.full((views, height, width, 3), 128, np.uint8)
    dense = np.zeros((views, 7, 12), np.uint8)
    rows, columns = rng.integers(0, height, 300), rng.integers(0, width, 300)
    at = np.stack([np.full(300, views - 1), rows, columns], axis=1).astype(np.int16)
    names = [f"CAM_{view}" for view in range(views)]
    camera_labels(tmp_path / "c.png", images, names, dense, at, np.full(300, 1, np.uint8), vocabulary())
    image = read(tmp_path / "c.png")
    red = (image == np.array(RED, np.uint8)).all(axis=2)
    picture_rows = red[: int(image.shape[0] * 0.8)]  # without the legend
    assert picture_rows.sum() > 300
    assert not picture_rows[:, : int(0.9 * image.shape[1] * (views - 1) / views)].any()


def test_the_teachers_patches_cover_their_part_of_the_photo(tmp_path: Path) -> None:
    """A label in the left half tints the left half of the second row only, and the photo stays itself."""
    images = np.full((1, 64, 128, 3), 200, np.uint8)
    dense = np.array([[[1, 0]]], np.uint8)
    nothing = np.zeros((0, 3), np.int16), np.zeros(0, np.uint8)
    camera_labels(tmp_path / "p.png", images, ["CAM_A"], dense, *nothing, vocabulary())
    image = read(tmp_path / "p.png").astype(int)
    tinted = (image[..., 0] > 200) & (image[..., 1] < 150)
    height, width = tinted.shape
    rows, columns = np.nonzero(tinted[: int(0.9 * height)])
    assert 0.28 * height < rows.min() and rows.max() < 0.65 * height
    assert columns.max() < 0.6 * width
    assert len(rows) > 0.7 * (height / 3.5) * (width / 2.2)


@pytest.mark.parametrize("classes", [1, 3, 20])
def test_confusion_of_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    matrix = np.diag(np.arange(classes)).astype(np.int64)  # the first class has no point
    plots.confusion(tmp_path / "m.png", matrix, vocabulary(classes))
    image = read(tmp_path / "m.png")
    full = tuple(round(255 * v) for v in (0.0314, 0.1882, 0.4196))  # the color map's last, 100 %
    assert (pixels(image, full) > 0) == (classes > 1)


def test_counts_are_short() -> None:
    assert [plots.count(n) for n in (0, 7, 999, 12_345, 4_560_000)] == [
        "absent",
        "7",
        "999",
        "12.3k",
        "4.56M",
    ]


def test_smoothing_against_a_loop() -> None:
    values = np.random.default_rng(0).normal(size=40)
    values[[3, 4, 17]] = np.nan
    for reach in (0, 1, 5, 60):
        expected = [
            np.nan if np.isnan(v) else np.nanmean(values[max(0, i - reach) : i + reach + 1])
            for i, v in enumerate(values)
        ]
        assert np.allclose(plots.smoothed(values, reach), np.array(expected), rtol=1e-9, equal_nan=True)


def test_curves_with_gaps_single_points_and_nothing_finite(tmp_path: Path) -> None:
    steps = list(range(50))
    series = {
        "loss/total": (steps, [1.0 if step % 7 else float("inf") for step in steps]),
        "label_free/miou": ([50], [0.4]),
        "loss/never": (steps, [float("nan")] * 50),
        "a_fourth": (steps, np.linspace(1, 0, 50).tolist()),
    }
    plots.curves(tmp_path / "four.png", series)
    plots.curves(tmp_path / "one.png", dict(list(series.items())[:1]))
    four, one = read(tmp_path / "four.png"), read(tmp_path / "one.png")
    assert four.shape[0] == 2 * one.shape[0] and four.shape[1] == 3 * one.shape[1]


def test_a_picture_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the picture"):
        plots.curves(tmp_path / "file" / "c.png", {"loss": ([1, 2], [1.0, 2.0])})
