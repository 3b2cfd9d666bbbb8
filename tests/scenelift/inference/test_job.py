"""The command `predict`: a file of labels for each cloud, whole or absent; it goes on where it was."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from plyfile import PlyData

from scenelift.errors import ConfigError, DataError
from scenelift.inference import job, scans
from scenelift.inference.config import InputConfig, PredictConfig
from scenelift.inference.files import clouds
from scenelift.inference.labeler import Labeler, load
from tests.made.students import SPOKEN, speaking_student

RNG = np.random.default_rng(0)
ROWS = np.concatenate([RNG.normal(0, 12, (400, 3)), RNG.uniform(0, 3, (400, 1))], 1).astype(np.float32)


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    """Three clouds in two folders."""
    speaking_student().save(tmp_path / "student")
    for number, name in enumerate(("b/2", "a", "b/1")):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "scans" / f"{name}.npy", ROWS[number * 50 :])
    return PredictConfig(
        str(tmp_path / "student"), str(tmp_path / "scans"), str(tmp_path / "out"), "npz", device="cpu"
    )


def want(rows: np.ndarray) -> np.ndarray:
    return Labeler(speaking_student()).predict(rows).ids


def test_every_cloud_gets_a_file_of_its_name_with_its_points_in_order(config, capsys):
    out = Path(job.run(config))
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.npz"))
    assert files == ["a.npz", "b/1.npz", "b/2.npz"]
    for start, name in ((0, "b/2"), (50, "a"), (100, "b/1")):
        labels = np.load(out / f"{name}.npz")
        assert np.array_equal(labels["ids"], want(ROWS[start:])) and labels["classes"].tolist() == list(
            SPOKEN.classes
        )
    said = capsys.readouterr().out
    assert "3 clouds, 1,050 points" in said and str(out) in said
    about = json.loads((out / "predict.json").read_text())
    assert [entry["name"] for entry in about["classes"]] == list(SPOKEN.classes)


def test_what_is_done_stays_and_the_rest_is_made(config, capsys):
    out = Path(job.run(config))
    kept = (out / "a.npz").stat().st_mtime_ns
    (out / "b/1.npz").unlink()
    job.run(config)
    assert (out / "a.npz").stat().st_mtime_ns == kept
    assert np.array_equal(np.load(out / "b/1.npz")["ids"], want(ROWS[100:]))
    assert "2 of 3 are labelled already" in capsys.readouterr().err


def test_labels_of_another_student_are_not_mixed_in(config, tmp_path):
    job.run(config)
    speaking_student(seed=3).save(tmp_path / "student")
    for other in (config, replace(config, threshold=0.5)):
        with pytest.raises(ConfigError, match="labels of another student, or of other options"):
            job.run(other)


def test_an_interrupted_file_is_absent(config, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    config.check_here()
    with pytest.raises(KeyboardInterrupt):
        job.run(config)
    assert not list(Path(config.out).rglob("*.npz"))


def test_unreadable_clouds_are_named_and_may_be_some(config, tmp_path, capsys):
    (tmp_path / "scans" / "b" / "1.npy").write_bytes(b"no")
    with pytest.raises(DataError, match=r"b/1.npy cannot be read.*--max_bad 1"):
        job.run(config)
    out = Path(job.run(replace(config, max_bad=1)))
    assert len(list(out.rglob("*.npz"))) == 2 and "1 could not be labelled" in capsys.readouterr().out


def test_ply(config, tmp_path):
    out = Path(job.run(replace(config, format="ply", scores=True)))
    vertices = PlyData.read(str(out / "b" / "2.ply"))["vertex"]
    assert np.array_equal(np.stack([vertices[axis] for axis in "xyz"], 1), ROWS[:, :3])
    ids = want(ROWS)
    assert np.array_equal(vertices["label"], ids)
    colors = np.stack([vertices[name] for name in ("red", "green", "blue")], 1)
    assert np.array_equal(colors, np.array(SPOKEN.colors)[ids - 1])
    scores = np.stack([vertices[f"score_{name}"] for name in SPOKEN.classes], 1)
    np.testing.assert_allclose(scores.max(1), vertices["confidence"], atol=1e-6)


@pytest.mark.parametrize(
    ("format_", "dtype", "name"), [("label", "<u4", "a.label"), ("lidarseg", "u1", "a_lidarseg.bin")]
)
def test_bare_labels(config, format_, dtype, name):
    out = Path(job.run(replace(config, format=format_)))
    assert np.array_equal(np.fromfile(out / name, dtype), want(ROWS[50:]))


def test_parquet(config):
    table = pq.read_table(
        Path(job.run(replace(config, format="parquet", features=True))) / "a.parquet"
    ).to_pydict()
    labels = Labeler(speaking_student()).predict(ROWS[50:], extras=["features"])
    assert table["id"] == labels.ids.tolist() and table["name"] == labels.names.tolist()
    np.testing.assert_array_equal(np.array(table["features"]), labels.features)


def test_las_is_copied_with_its_columns_and_classes(config, tmp_path, monkeypatch):
    """An old point format has room for 32 classes only; the copy has 256, and the names."""
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = np.full(3, 0.001), np.array([500_000.0, 5e6, 0])
    header.add_extra_dim(laspy.ExtraBytesParams("own", np.int16))
    las = laspy.LasData(header)
    points = ROWS[:, :3].astype(np.float64) + header.offsets
    las.x, las.y, las.z = points.T
    las.intensity = np.arange(400) % 4
    las["own"] = np.arange(400)
    source = tmp_path / "one.las"
    las.write(source)
    monkeypatch.setattr(clouds, "CHUNK", 150)
    monkeypatch.setattr("scenelift.inference.files.las.CHUNK", 150)
    made = laspy.read(Path(job.run(replace(config, data=str(source), format="las"))) / "one.las")
    assert np.array_equal(made["own"], np.arange(400)) and np.array_equal(made.X, las.X)
    exact = np.stack([las.x, las.y, las.z, np.arange(400) % 4], 1)
    assert np.array_equal(
        np.asarray(made.classification), 63 + Labeler(speaking_student()).predict(exact).ids
    )
    names = {record.lookups[64] for record in made.header.vlrs if hasattr(record, "lookups")}
    assert names == {"car"}


def test_las_of_other_points(config):
    made = laspy.read(Path(job.run(replace(config, format="las"))) / "b" / "2.las")
    np.testing.assert_allclose(np.stack([made.x, made.y, made.z], 1), ROWS[:, :3], atol=6e-4)
    assert np.array_equal(np.asarray(made.classification), 63 + want(ROWS))


def test_own_words_from_the_command_line_and_from_a_file(config, tmp_path):
    out = Path(job.run(replace(config, classes=("road",))))
    assert np.array_equal(np.load(out / "b/2.npz")["ids"] > 0, want(ROWS) == 3)
    (tmp_path / "words.json").write_text('{"way": ["road"], "plant": ["tree", "bush"]}')
    named = replace(config, classes=(str(tmp_path / "words.json"),), out=str(tmp_path / "other"))
    ids = np.load(Path(job.run(named)) / "b/2.npz")["ids"]
    assert np.array_equal(np.array([0, 3, 2])[ids], np.where(want(ROWS) == 1, 0, want(ROWS)))


def test_large_clouds_come_from_disk_and_back(config, monkeypatch):
    """With the margin as wide as the cloud, its only tile is itself."""
    monkeypatch.setattr(clouds, "CHUNK", 60)
    monkeypatch.setattr(scans, "MOST_POINTS", 10_000)
    out = Path(job.run(replace(config, features=True, scores=True)))
    labels, whole = np.load(out / "b/2.npz"), Labeler(speaking_student()).predict(ROWS, extras=["features"])
    assert np.array_equal(labels["ids"], whole.ids)
    np.testing.assert_allclose(labels["features"], whole.features, atol=1e-5)


def test_scale_and_offset_bring_features_to_those_of_the_training(config):
    reading = InputConfig(scale=2.0, offset=1.0)
    out = Path(job.run(replace(config, input=reading)))
    shifted = ROWS.copy()
    shifted[:, 3] = shifted[:, 3] * 2 + 1
    assert np.array_equal(np.load(out / "b/2.npz")["ids"], want(shifted))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "lab"}, "unknown format lab; did you mean label"),
        ({"format": "label", "scores": True}, "scores are written with"),
        ({"features": True, "format": "ply"}, "features are written with"),
        ({"background": ("tree",)}, "background is for own words"),
        ({"input": InputConfig(values=4), "data": "shards"}, "shards and data sets know them"),
    ],
)
def test_options_that_do_not_go_together(config, values, message, tmp_path):
    if values.get("data"):
        (tmp_path / "manifest.json").touch()
        values = values | {"data": str(tmp_path)}
    with pytest.raises(ConfigError, match=message):
        job.run(replace(config, **values))


def test_memory_does_not_grow_with_the_number_of_clouds(config, tmp_path):
    """Nothing of a cloud is kept: the tensors that live after twenty are those that live after two."""
    import gc

    for number in range(20):
        np.save(tmp_path / "scans" / f"more-{number}.npy", ROWS)
    found = job.open_scans(config)
    work = job.Work(config, found, job.FORMATS["npz"], config.out)
    worker, counts = work.worker(), []
    Path(config.out).mkdir()
    for index in range(20):
        worker.label(index)
        gc.collect()
        counts.append(sum(isinstance(each, torch.Tensor | np.ndarray) for each in gc.get_objects()))
    assert counts[-1] <= counts[1]


def test_a_student_that_was_made_before_these_fields_still_labels(config, tmp_path):
    path = tmp_path / "student" / "student.json"
    old = {
        key: value
        for key, value in json.loads(path.read_text()).items()
        if key not in ("temperature", "teacher")
    }
    path.write_text(json.dumps(old))
    assert np.array_equal(load(tmp_path / "student", "cpu").predict(ROWS).ids, want(ROWS))
    with pytest.raises(ConfigError, match="does not say which teacher"):
        load(tmp_path / "student", "cpu").predict(ROWS, classes=["car"])


def test_labels_are_not_labelled_in_turn(config, tmp_path):
    """Where the output lies among the scans, a second run finds the same scans."""
    inside = replace(config, out=str(tmp_path / "scans" / "labels"), format="ply")
    job.run(inside)
    job.run(inside)
    assert len(list((tmp_path / "scans" / "labels").rglob("*.ply"))) == 3
    assert len(clouds.find_clouds(tmp_path / "scans" / "labels")) == 3, "to be looked at"


def test_files_of_the_user_are_neither_overwritten_nor_taken_for_labels(config, tmp_path):
    before = (tmp_path / "scans" / "a.npy").read_bytes()
    (tmp_path / "scans" / "a.npz").write_bytes(b"mine")
    with pytest.raises(DataError, match="a in two formats"):
        job.run(replace(config, out=str(tmp_path / "scans")))
    (tmp_path / "out").mkdir()
    (tmp_path / "scans" / "a.npz").rename(tmp_path / "out" / "a.npz")
    with pytest.raises(ConfigError, match=r"a\.npz is there, and is no label of ours"):
        job.run(config)
    assert (tmp_path / "out" / "a.npz").read_bytes() == b"mine"
    assert (tmp_path / "scans" / "a.npy").read_bytes() == before


def test_a_name_cannot_lead_out_of_the_folder(config):
    """Names of shards are those of whoever wrote them."""
    work = job.Work(config, job.open_scans(config), job.FORMATS["npz"], config.out)
    for name in ("../a", "/a", "b/../../a"):
        with pytest.raises(DataError, match="outside of"):
            work.target(name)


def test_a_pipe_and_holes_are_counted(config, tmp_path, capsys):
    os.mkfifo(tmp_path / "scans" / "c.ply")
    holed = ROWS.copy()
    holed[:5, 1] = np.nan
    np.save(tmp_path / "scans" / "a.npy", holed)
    job.run(replace(config, max_bad=1))
    assert "5 points are not finite and have no label" in capsys.readouterr().out
