"""The table of runs: known numbers in, known rows out; and what must never share a column does not."""

import csv
import json
import shutil
import statistics
from dataclasses import replace

import pytest

from scenelift.config import build as configuration
from scenelift.errors import ConfigError, TrackingError
from scenelift.tracking.client import Tracker
from scenelift.tracking.config import TrackingConfig
from trainables.distill.config import PRESETS as DISTILL
from trainables.finetune.config import PRESETS as FINETUNE
from trainables.finetune.config import LabelsConfig
from trainables.table import run as table
from trainables.table.config import TableConfig

BASE = DISTILL["synthetic"]
WITHOUT = replace(BASE, loss=replace(BASE.loss, class_weight_power=0.0))
TUNED = FINETUNE["synthetic"]
SCORES = {0: 0.50, 1: 0.52, 2: 0.57}
TEACHER = 0.45


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


class Store:
    """A tracking store that runs are written to as trainings write them, and a folder for tables."""

    def __init__(self, folder, template=None):
        self.runs, self.out = folder / "runs", folder / "table"
        if template is not None:
            self.runs.mkdir()
            shutil.copy(template, self.runs / "mlflow.db")

    def run(self, name, config, tags, metrics, status="FINISHED", split="val", digest="d0", context="test"):
        described = {"dataset": "streets", "dataset_version": "v1", "split": split}
        experiment = TrackingConfig(experiment=tags["trainable"], system_metrics=0)
        tracker = Tracker.start(experiment, self.runs, name, configuration.flatten(config), tags)
        tracker.dataset("/data/streets", json.dumps(described), f"streets-{split}", digest, context)
        tracker.metrics(metrics, 7)
        tracker.finish(status)
        return tracker.info["run_id"]

    def distilled(self, name, config=BASE, seed=0, score=0.5, **kwargs):
        config = replace(config, loop=replace(config.loop, seed=seed), run=replace(config.run, name=name))
        config = replace(
            config, data=replace(config.data, train=f"elsewhere/{name}", test=f"elsewhere/{name}")
        )
        tags = {"trainable": "distill", "protocol": "label-free", "seed": str(seed), "teacher": "tiny"}
        metrics = {
            "label_free/miou": score,
            "label_free/miou_seen": score + 0.01,
            "label_free/iou/car": score / 2,
            "teacher/miou": TEACHER,
            "random/miou": 0.01 * seed,
        }
        return self.run(name, config, tags, metrics, **kwargs)

    def tuned(self, name, fraction, score, start_run, seed=0, freeze=False):
        config = replace(
            TUNED, labels=LabelsConfig(fraction), freeze=freeze, start=f"runs/{start_run}/student"
        )
        config = replace(config, loop=replace(config.loop, seed=seed))
        tags = {"trainable": "finetune", "protocol": config.protocol, "seed": str(seed), "teacher": "tiny"}
        tags |= {"start": "distill", "start_run": start_run, "start_version": "distill-1"}
        return self.run(name, config, tags, {"labeled/miou": score})

    def table(self, **options):
        """Rows of the CSV that the command writes."""
        table.run(TableConfig(runs=str(self.runs), out=str(self.out), **options))
        return list(csv.DictReader((self.out / "table.csv").open()))


@pytest.fixture
def store(tmp_path, mlflow_tables):
    return Store(tmp_path, mlflow_tables)


@pytest.fixture(scope="module")
def full(tmp_path_factory, mlflow_tables):
    """Three seeds of the preset and of it without one part, one that failed, and fine-tunings of two kinds."""
    store = Store(tmp_path_factory.mktemp("full"), mlflow_tables)
    starts = {}
    for seed, score in SCORES.items():
        starts[seed] = store.distilled(f"base-{seed}", BASE, seed, score)
        store.distilled(f"without-{seed}", WITHOUT, seed, score - 0.1)
    store.distilled("all-pairs", replace(BASE, loss=replace(BASE.loss, confident_fraction=1.0)), 0, 0.4)
    store.distilled("broken", BASE, 3, 0.9, status="FAILED")
    for seed in (0, 1):
        store.tuned(f"one-{seed}", 0.01, 0.6 + 0.1 * seed, starts[seed], seed)
        store.tuned(f"ten-{seed}", 0.1, 0.8, starts[seed], seed)
    return store


def column(row, words):
    """The one column of a row whose title ends so and that the row fills."""
    (found,) = [value for head, value in row.items() if head.endswith(words) and value]
    return float(found)


def test_means_and_spreads_over_seeds_with_what_differs_as_the_name(full, capsys):
    rows = {row["row"]: row for row in full.table(experiments=("distill",))}
    assert list(rows) == [
        "random",
        "teacher",
        "distill",
        "distill: loss.class_weight_power=0.0",
        "distill: loss.confident_fraction=1.0",
    ]
    for name, shift in (("distill", 0.0), ("distill: loss.class_weight_power=0.0", 0.1)):
        values = [score - shift for score in SCORES.values()]
        assert column(rows[name], "mIoU, all points, mean") == pytest.approx(statistics.mean(values))
        assert column(rows[name], "mIoU, all points, spread") == pytest.approx(statistics.stdev(values))
        assert column(rows[name], "mIoU, seen points, mean") == pytest.approx(statistics.mean(values) + 0.01)
        assert rows[name]["seeds"] == "3"
    for row in rows.values():
        assert (row["dataset"], row["split"], row["protocol"]) == ("streets v1", "val", "label-free")
    assert (rows["distill"]["teacher"], rows["distill"]["student"]) == ("tiny (tiny_clip)", "tiny, 0.4 m")
    said = capsys.readouterr()
    assert "left out: 1 failed" in said.err
    assert "0.530 ± 0.036" in said.out
    assert (full.out / "table.md").read_text() in said.out


def test_a_teacher_has_scores_on_seen_points_alone(full):
    rows = {row["row"]: row for row in full.table(experiments=("distill",))}
    assert column(rows["teacher"], "mIoU, seen points, mean") == TEACHER
    assert not any(value for head, value in rows["teacher"].items() if "all points" in head)
    assert column(rows["random"], "mIoU, all points, mean") == pytest.approx(0.01)
    assert column(rows["random"], "mIoU, all points, spread") == pytest.approx(0.01)


def test_each_protocol_has_columns_of_its_own(full):
    rows = full.table()
    protocols = {row["protocol"] for row in rows}
    assert protocols == {"label-free", "finetune 1% frames", "finetune 10% frames"}
    heads = [head for head in rows[0] if head.endswith("mean")]
    for head in heads:
        assert len({row["protocol"] for row in rows if row[head]}) == 1, head
    tuned = [row for row in rows if row["row"] == "distill -> finetune"]
    assert [row["seeds"] for row in tuned] == ["2", "2"], "the starts differ in the seed alone"
    text = (full.out / "table.md").read_text()
    assert text.count("### ") == 3
    for line in text.splitlines():
        assert not line.startswith("| distill -> finetune") or "| tiny (tiny_clip) | tiny, 0.4 m |" in line


def test_one_metric_of_one_protocol(full):
    rows = full.table(metric="label_free/iou/car")
    assert [row["row"] for row in rows] == [
        "distill",
        "distill: loss.class_weight_power=0.0",
        "distill: loss.confident_fraction=1.0",
    ]
    assert column(rows[0], "iou/car, mean") == pytest.approx(0.53 / 2)
    rows = full.table(metric="labeled/miou", rows=("protocol=finetune 1% frames",))
    assert column(rows[0], "mIoU, all points, mean") == pytest.approx(0.65)
    assert [row["row"] for row in full.table(metric="label_free/miou_seen")][:1] == ["teacher"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metric": "labeled/miou"},
            r"2 ways .*finetune 1% frames; .*finetune 10% frames.*--rows protocol=",
        ),
        ({"metric": "label_free/mio"}, "did you mean label_free/miou"),
        ({"experiments": ("distil",)}, "did you mean distill"),
        ({"rows": ("loop.sead=1",)}, "did you mean loop.seed"),
        ({"rows": ("loop.seed",)}, "KEY=VALUE"),
        ({"rows": ("loop.seed=9",)}, "loop.seed is 0 or 1 or 2"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(full, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        full.table(**options)
    assert "\n" not in str(caught.value)


def test_other_shards_and_other_means_are_other_columns(store):
    store.distilled("a", seed=0)
    store.distilled("b", seed=1, digest="d1")
    store.distilled("c", replace(BASE, data=replace(BASE.data, absent_classes="count as one")), seed=2)
    rows = [row for row in store.table() if row["row"] == "distill"]
    assert {(row["split"], row["protocol"]) for row in rows} == {
        ("val (d0)", "label-free"),
        ("val (d1)", "label-free"),
        ("val", "label-free, absent classes count as one"),
    }
    assert all(row["seeds"] == "1" for row in rows)
    with pytest.raises(ConfigError, match="3 ways"):
        store.table(metric="label_free/miou")


def test_a_run_that_is_scored_on_what_it_trained_on_has_a_row(store):
    store.distilled("transductive", score=0.4, context="train+test")
    (row,) = [row for row in store.table() if row["row"] == "distill"]
    assert column(row, "mIoU, all points, mean") == pytest.approx(0.4)


def test_of_the_same_run_twice_the_newer_counts(store, capsys):
    store.distilled("first", seed=0, score=0.3)
    store.distilled("second", seed=0, score=0.4)
    store.distilled("third", seed=1, score=0.6)
    (row,) = [row for row in store.table() if row["row"] == "distill"]
    assert column(row, "mIoU, all points, mean") == pytest.approx(0.5)
    assert row["seeds"] == "2"
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "first and second are the same training with seed 0; the newer counts, second" in said


def test_starts_that_were_trained_otherwise_are_other_rows(store):
    for name, config in (("a", BASE), ("b", WITHOUT)):
        store.tuned(f"tuned-{name}", 0.01, 0.5, store.distilled(name, config))
    names = {row["row"] for row in store.table(experiments=("finetune",))}
    assert names == {f"distill -> finetune: start.loss.class_weight_power={value}" for value in (0.0, 0.5)}


def test_without_runs_it_says_how_to_make_one(store, tmp_path):
    (tmp_path / "nothing").mkdir()
    nothing = Store(tmp_path / "nothing")
    with pytest.raises(TrackingError, match=r"no runs are recorded .*trainables.distill"):
        nothing.table()
    assert not nothing.runs.exists(), "reading makes no store"
    store.distilled("broken", status="FAILED")
    with pytest.raises(TrackingError, match=r"no finished run with scores .*trainables.distill"):
        store.table()
