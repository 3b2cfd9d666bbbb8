"""ReferItGame: expressions of a photo as phrases of one sentence; the real file; what is broken."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import AuthorsHdf5, BottomUpFolder
from datasets.referit.source import ReferIt
from scenelift.errors import DataError, FrameError
from tests.made.phrase_tree import CLASSES, SIZE, region_arrays


def test_the_real_photo(real_data):
    root = real_data / "referit"
    names = ("dog", *(f"thing {i}" for i in range(1599)))
    source = ReferIt(root, BottomUpFolder(root / "regions", names))
    (keyframe,) = source.list_samples("test")
    sample = source.read(keyframe, CaptionOptions())
    assert (sample.token, sample.size, len(sample.sentences)) == ("10000", (480, 360), 1)
    assert [phrase.text for phrase in sample.phrases] == [
        "the ground that's not grass",
        "dog..!",
        "owner is color blind. the dog",
    ]
    assert [phrase.box for phrase in sample.phrases] == [
        (0, 78, 360, 480),
        (49, 246, 256, 418),
        (49, 246, 256, 418),
    ]
    assert [phrase.classes for phrase in sample.phrases] == [(), ((1, 1.0),), ((1, 1.0),)]
    assert sample.boxes.shape == (100, 4)
    with pytest.raises(DataError, match="no image of train"):
        source.list_samples("train")


def tree(root, entries):
    (root / "regions").mkdir(parents=True)
    (root / "expressions.json").write_text(json.dumps(entries))
    for name in ("1.jpg", "2.jpg"):
        np.savez(root / "regions" / f"{name}.npz", **region_arrays(np.random.default_rng(0)))
    return ReferIt(root, BottomUpFolder(root / "regions", CLASSES))


def entry(image, *queries, split="train", box=(1, 2, 30, 40)):
    return {"img_id": image, "bbox": list(box), "split": split, "query": list(queries)}


def test_expressions_of_a_photo_are_merged_and_splits_kept_apart(tmp_path):
    source = tree(
        tmp_path,
        [entry("2.jpg", "a  dog"), entry("1.jpg", "man", split="val"), entry("2.jpg", "man", "him")],
    )
    (keyframe,) = source.list_samples("train")
    assert keyframe.token == "2" and [text for text, _ in keyframe.expressions] == ["a dog", "man", "him"]
    assert [keyframe.token for keyframe in source.list_samples()] == ["2", "1"]
    with pytest.raises(DataError, match="unknown split testA"):
        source.list_samples("testA")


@pytest.mark.parametrize(
    "wrong",
    [{"img_id": "1.jpg"}, [[1]], [entry("1.jpg", box=(1, 2))], [entry("1.jpg") | {"query": "a dog"}], 3],
)
def test_a_file_of_another_make_is_refused(tmp_path, wrong):
    with pytest.raises(DataError, match="is not a list of objects"):
        tree(tmp_path, wrong).list_samples()


def test_missing_regions_are_named(tmp_path):
    source = tree(tmp_path, [entry("3.jpg", "a dog")])
    with pytest.raises(FrameError, match=r"3\.jpg\.npz is missing"):
        source.read(source.list_samples()[0], CaptionOptions())


def test_with_regions_that_do_not_tell_the_size_the_photo_does(tmp_path):
    """The authors' HDF5 files hold no sizes."""
    tree(tmp_path, [entry("1.jpg", "a dog"), entry("2.jpg", "a man")])
    arrays = region_arrays(np.random.default_rng(0))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        row = [arrays["x"].T, np.log(arrays["cls_prob"]), arrays["bbox"]]
        file["1.jpg"] = file["2.jpg"] = np.concatenate(row, 1)
    source = ReferIt(tmp_path, AuthorsHdf5(tmp_path / "all.h5", CLASSES, 5))
    first, second = source.list_samples()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / "images" / "1.jpg")
    sample = source.read(first, CaptionOptions())
    assert sample.size == SIZE and len(sample.boxes) == 6
    with pytest.raises(FrameError, match=r"2\.jpg do not include its size.*put the photos there"):
        source.read(second, CaptionOptions())
    (tmp_path / "images" / "2.jpg").write_bytes(b"no photo")
    with pytest.raises(FrameError, match=r"2\.jpg is not an image"):
        source.read(second, CaptionOptions())
