"""Regions: bottom-up-attention's files either way round, the authors' HDF5 rows, and what is wrong with them."""

import h5py
import numpy as np
import pytest

from datasets.captions.regions import AuthorsHdf5, BottomUpFolder, read_classes, split_rows
from scenelift.errors import ConfigError, DataError, FrameError
from tests.made.phrase_tree import CLASSES, SIZE, region_arrays


@pytest.fixture
def arrays():
    return region_arrays(np.random.default_rng(0))


def saved(folder, arrays):
    np.savez(folder / "1.jpg.npz", **arrays)
    return BottomUpFolder(folder, CLASSES)


def test_features_lie_either_way_round(tmp_path, arrays):
    found = saved(tmp_path, arrays).read("1.jpg", SIZE)
    np.testing.assert_array_equal(found.features, arrays["x"].T)
    turned = saved(tmp_path, arrays | {"x": arrays["x"].T}).read("1.jpg", None)
    np.testing.assert_array_equal(turned.features, found.features)
    np.testing.assert_array_equal(found.posteriors, arrays["cls_prob"])
    assert BottomUpFolder(tmp_path, CLASSES).size("1.jpg") == SIZE


def test_regions_outside_of_the_image_are_cut_off_or_left_out(tmp_path, arrays):
    arrays["bbox"][0] = (-9, -9, 20, 20)
    arrays["bbox"][1] = (200, 200, 220, 220)
    found = saved(tmp_path, arrays).read("1.jpg", SIZE)
    assert len(found.boxes) == 5 and found.boxes[0].tolist() == [0, 0, 20, 20]
    np.testing.assert_array_equal(found.features[1], arrays["x"].T[2])
    arrays["bbox"][:] = 500
    with pytest.raises(FrameError, match="no region inside"):
        saved(tmp_path, arrays).read("1.jpg", SIZE)


def test_the_surest_come_first_and_background_does_not_count(tmp_path, arrays):
    arrays["cls_prob"][:, 1:] = [[0.1, 0], [0, 0.3], [0.5, 0], [0, 0.2], [0.4, 0.3], [0, 0]]
    arrays["cls_prob"][:, 0] = 1 - arrays["cls_prob"][:, 1:].sum(1)
    found = saved(tmp_path, arrays).read("1.jpg", SIZE).most_confident(3)
    np.testing.assert_array_equal(found.features, arrays["x"].T[[2, 4, 1]])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cls_prob": np.ones((6, 9), np.float32)}, r"posteriors of shape \(6, 9\)"),
        ({"bbox": np.ones((6, 5), np.float32)}, "boxes for"),
        ({"x": np.ones((4, 3), np.float32)}, "boxes for"),
        ({"x": np.full((5, 6), np.nan, np.float32)}, "not finite"),
        ({"image_h": np.int64(99)}, r"for an image of \(99, 100\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, change, reason):
    with pytest.raises(FrameError, match=reason):
        saved(tmp_path, arrays | change).read("1.jpg", SIZE)


def test_broken_files_are_named(tmp_path, arrays):
    del arrays["bbox"]
    with pytest.raises(FrameError, match=r"1\.jpg\.npz has no bbox"):
        saved(tmp_path, arrays).read("1.jpg", SIZE)
    (tmp_path / "1.jpg.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(FrameError, match=r"1\.jpg\.npz cannot be read"):
        BottomUpFolder(tmp_path, CLASSES).read("1.jpg", SIZE)
    with pytest.raises(DataError, match="is not a folder"):
        BottomUpFolder(tmp_path / "none", CLASSES)


def rows(arrays, padding=3):
    """Rows as the authors stored them, of the same regions, filled up with zeros."""
    logits = np.log(arrays["cls_prob"]) + 3.0
    whole = np.concatenate([arrays["x"].T, logits, arrays["bbox"]], 1).astype(np.float32)
    return np.concatenate([whole, np.zeros((padding, whole.shape[1]), np.float32)])


def test_the_authors_rows_are_split_and_their_padding_left_out(arrays):
    found = split_rows("1.jpg", rows(arrays), 5, CLASSES, SIZE)
    np.testing.assert_array_equal(found.features, arrays["x"].T)
    np.testing.assert_array_equal(found.boxes, arrays["bbox"])
    np.testing.assert_allclose(found.posteriors, arrays["cls_prob"], rtol=1e-4)
    with pytest.raises(FrameError, match=r"rows of 12 numbers, not of 6 \+ 3 \+ 4; check --feature_width"):
        split_rows("1.jpg", rows(arrays), 6, CLASSES, SIZE)
    with pytest.raises(FrameError, match="no region inside"):
        split_rows("1.jpg", rows(arrays) * 0, 5, CLASSES, SIZE)


def test_without_h5py_the_way_out_is_named(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "all.h5").write_bytes(b"")
    with pytest.raises(ConfigError, match="need the package h5py"):
        AuthorsHdf5(tmp_path / "all.h5", CLASSES, 5)
    with pytest.raises(DataError, match="is not a file"):
        AuthorsHdf5(tmp_path / "none.h5", CLASSES, 5)


@pytest.fixture
def hdf5(tmp_path, arrays):
    """A real file of the authors' layout: a data set for each image, filled up to the same number of rows."""
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["1.jpg"] = rows(arrays)
        file["shares.jpg"] = rows(arrays | {"bbox": arrays["bbox"] / np.array([SIZE[1], SIZE[0]] * 2)})
        file["text.jpg"] = "no numbers"
    return tmp_path / "all.h5"


def test_a_real_hdf5_file_has_the_regions_that_were_written(hdf5, arrays):
    found = AuthorsHdf5(hdf5, CLASSES, 5).read("1.jpg", SIZE)
    np.testing.assert_array_equal(found.features, arrays["x"].T)
    np.testing.assert_array_equal(found.boxes, arrays["bbox"])
    np.testing.assert_allclose(found.posteriors, arrays["cls_prob"], rtol=1e-4)


def test_numbers_of_another_file_are_not_read(hdf5, arrays, tmp_path):
    """An HDF5 file may name any file of the machine as the place of its numbers."""
    secret = tmp_path / "secret"
    secret.write_bytes(rows(arrays).astype("<f4").tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["1.jpg"] = rows(arrays)
    layout = h5py.VirtualLayout(rows(arrays).shape, "<f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "1.jpg", rows(arrays).shape)
    with h5py.File(hdf5, "a") as file:
        shape = rows(arrays).shape
        file.create_dataset("raw", shape, "<f4", external=[(str(secret), 0, secret.stat().st_size)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "1.jpg")
        file["twice"] = h5py.SoftLink("/link")
        file.create_virtual_dataset("virtual", layout)
        file["own"] = h5py.SoftLink("/1.jpg")
        file.create_group("folder")
    for name in ("raw", "link", "twice", "virtual"):
        with pytest.raises(FrameError, match=f"{name} of all.h5 lies in another file"):
            AuthorsHdf5(hdf5, CLASSES, 5).read(name, SIZE)
    with pytest.raises(FrameError, match="is not an array"):
        AuthorsHdf5(hdf5, CLASSES, 5).read("folder", SIZE)
    assert len(AuthorsHdf5(hdf5, CLASSES, 5).read("own", SIZE).boxes)


def test_boxes_in_shares_become_pixels_if_that_is_said(hdf5, arrays):
    found = AuthorsHdf5(hdf5, CLASSES, 5, "shares").read("shares.jpg", SIZE)
    np.testing.assert_allclose(found.boxes, arrays["bbox"], rtol=1e-5)
    with pytest.raises(FrameError, match="boxes in shares, not in pixels; give --box_unit shares"):
        AuthorsHdf5(hdf5, CLASSES, 5).read("shares.jpg", SIZE)
    with pytest.raises(FrameError, match="boxes in pixels, not in shares; give --box_unit pixels"):
        AuthorsHdf5(hdf5, CLASSES, 5, "shares").read("1.jpg", SIZE)


def test_what_is_wrong_with_an_hdf5_file_is_named(hdf5, tmp_path):
    source = AuthorsHdf5(hdf5, CLASSES, 5)
    assert source.size("1.jpg") is None, "it does not hold it"
    with pytest.raises(FrameError, match=r"no 2\.jpg"):
        source.read("2.jpg", SIZE)
    with pytest.raises(FrameError, match=r"size of 1\.jpg is unknown"):
        source.read("1.jpg", None)
    with pytest.raises(FrameError, match=r"text\.jpg of all\.h5 cannot be read"):
        source.read("text.jpg", SIZE)
    (tmp_path / "other.h5").write_bytes(b"no HDF5")
    with pytest.raises(FrameError, match=r"other\.h5 cannot be read"):
        AuthorsHdf5(tmp_path / "other.h5", CLASSES, 5).read("1.jpg", SIZE)


def test_class_lists(tmp_path):
    (tmp_path / "names.txt").write_text("Man\n\n dog,puppy \n")
    assert read_classes(tmp_path / "names.txt") == ("man", "dog,puppy")
    for wrong in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(DataError, match="no class names"):
            read_classes(wrong)
