"""Going on with a run: it keeps its own settings, whatever the preset; few may change, and none in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scenelift.config.build import flatten
from scenelift.config.cli import check_preset, parse
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, DataError
from scenelift.runs.config import RunConfig, TrainingConfig
from scenelift.runs.experiment import experiment, finished
from scenelift.runs.folder import Run
from scenelift.runs.resume import MAY_CHANGE, ONCE
from scenelift.train.config import LoopConfig, OptimizerConfig
from trainables.distill.config import PRESETS as DISTILL
from trainables.evaluate.config import PRESETS as EVALUATE
from trainables.finetune.config import PRESETS as FINETUNE
from trainables.ground.config import PRESETS as GROUND
from trainables.phrases.config import PRESETS as PHRASES
from trainables.pretrain.config import PRESETS as PRETRAIN

PRESETS = {
    "short": TrainingConfig(),
    "long": TrainingConfig(loop=LoopConfig(epochs=50), optimizer=OptimizerConfig("adamw", lr=0.5)),
}


def begun(folder: Path, config: Any) -> list[str]:
    """Options that go on with a run of this config."""
    run = RunConfig("mine", str(folder))
    Run.open("train", replace(config, run=run), run).release()
    return ["--run.storage", str(folder), "--run.name", "mine", "--run.resume", "true"]


def test_the_name_alone_is_enough_for_any_preset_and_command(tmp_path: Path) -> None:
    for number, presets in enumerate((DISTILL, FINETUNE, PRETRAIN, GROUND, PHRASES, EVALUATE)):
        for name, preset in presets.items():
            folder = tmp_path / f"{number}-{name}"
            options = begun(folder, preset)
            resumed = parse(presets, options, "train")
            assert resumed == replace(preset, run=RunConfig("mine", str(folder), True)), name


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (["--scale.workers", "2-8", "--scale.retries", "9"], {"scale.workers": "2-8", "scale.retries": 9}),
        (["--optimizer.lr", "0.01"], {"optimizer.lr": 0.01}),
        (["--tracking.uri", "sqlite:////x.db"], {"tracking.uri": "sqlite:////x.db"}),
        (["--loop.checkpoint_every=7"], {"loop.checkpoint_every": 7}),
        (["--loop.stop_after", "30"], {"loop.stop_after": 30}),
        (["--loop.epochs", "50"], {}),
        (["long", "--loop.epochs", "50"], {}),
        (["--config", "own"], {}),
    ],
)
def test_what_may_change_is_taken_and_said(
    tmp_path: Path, options: list[str], taken: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    own = begun(tmp_path, PRESETS["long"])
    options = [str(tmp_path / "mine/config.yaml") if each == "own" else each for each in options]
    resumed = flatten(parse(PRESETS, [*options, *own], "train"))
    before = flatten(PRESETS["long"])
    assert {key: each for key, each in resumed.items() if each != before[key] and key[:4] != "run."} == taken
    said = capsys.readouterr().err
    assert said.startswith("mine goes on with its own settings") and all(f"{key}=" in said for key in taken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--loop.epochs", "60"],
            r"mine has loop.epochs=50, not loop.epochs=60, .*another experiment; leave that out",
        ),
        (["--loop.seed", "1"], "loop.seed=0, not loop.seed=1"),
        (["--loop.precision", "float32"], "loop.precision"),
        (["--optimizer.weight_decay", "0"], "optimizer.weight_decay"),
        (["--tracking.experiment", "other"], "tracking.experiment"),
        (["short"], r"mine has optimizer.name=adamw loop.epochs=50, .*; leave out the preset short, or give"),
        (["--config", "short"], r"mine has optimizer.name=adamw loop.epochs=50, .*; leave out --config "),
    ],
)
def test_another_experiment_is_refused_before_anything_is_written(
    tmp_path: Path, options: list[str], message: str
) -> None:
    own = begun(tmp_path / "runs", PRESETS["long"])
    config = (tmp_path / "runs/mine/config.yaml").read_bytes()
    (tmp_path / "short.yaml").write_text(dump(PRESETS["short"]))
    if options[0] == "--config":
        options = ["--config", str(tmp_path / "short.yaml")]
    with pytest.raises(ConfigError, match=message):
        parse(PRESETS, [*options, *own], "train")
    assert (tmp_path / "runs/mine/config.yaml").read_bytes() == config


def test_a_run_on_real_data_needs_no_preset_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the line says that an interruption prints."""
    (tmp_path / "shards").mkdir()
    manifest = {"kind": "frame", "dataset": "nuscenes", "dataset_version": "v1.0-mini"}
    (tmp_path / "shards/manifest.json").write_text(json.dumps(manifest))
    config = replace(
        DISTILL["nuscenes"], data=replace(DISTILL["nuscenes"].data, train=str(tmp_path / "shards"))
    )
    argv = begun(tmp_path, config)
    with pytest.raises(ConfigError, match="preset"):
        anew = parse(DISTILL, [*argv[:4], "--data.train", str(tmp_path / "shards")], "x")
        check_preset(anew, DISTILL, [], "x")
    check_preset(parse(DISTILL, argv, "x"), DISTILL, argv, "x")


def test_what_holds_for_one_start_is_not_inherited(tmp_path: Path) -> None:
    loop = LoopConfig(epochs=9, stop_after=2, preflight_steps=20)
    resumed = parse(PRESETS, begun(tmp_path, TrainingConfig(loop=loop)), "train")
    assert resumed.loop == LoopConfig(epochs=9)


def test_a_replayed_config_begins_a_run_and_resumes_none(tmp_path: Path) -> None:
    begun(tmp_path, PRESETS["long"])
    assert not load(TrainingConfig, tmp_path / "mine/config.yaml").run.resume


def test_every_key_that_may_change_is_there() -> None:
    keys = {*flatten(PRESETS["short"]), *flatten(EVALUATE["synthetic"])}
    for each in (*MAY_CHANGE, *ONCE):
        assert each in keys or any(key.startswith(each) for key in keys if each.endswith(".")), each


def test_resuming_nothing_lists_the_runs_there_are(tmp_path: Path) -> None:
    options = begun(tmp_path, PRESETS["short"])
    (tmp_path / "artifacts").mkdir()
    for name, message in (
        ("mien", r"did you mean mine\? there is mine"),
        ("other", "there is mine; give one with"),
    ):
        with pytest.raises(ConfigError, match=f"no run {name} under .* to resume; {message}"):
            parse(PRESETS, [each.replace("mine", name) for each in options], "train")
    with pytest.raises(ConfigError, match=r"no run without a name .*there is mine"):
        parse(PRESETS, [*options[:2], "--run.resume", "true"], "train")
    with pytest.raises(ConfigError, match=r"there is none; check --run\.storage"):
        parse(
            PRESETS,
            ["--run.storage", str(tmp_path / "none"), "--run.name", "a", "--run.resume", "true"],
            "train",
        )


@dataclass(frozen=True)
class Shard:
    sha256: str


def test_a_finished_run_stays_as_it_is(
    tmp_path: Path, tracked: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tracked(tmp_path)
    run = RunConfig("a", str(tmp_path))
    config = TrainingConfig(run=run, tracking=replace(TrainingConfig().tracking, system_metrics=0))
    assert not finished(config)
    with experiment("train", config, {}, PRESETS, ()):
        pass
    files = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in files}
    assert finished(replace(config, run=replace(run, resume=True)))
    assert "run a is finished, and stays as it is" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == files
    assert {path: path.stat().st_mtime_ns for path in files} == times


def test_other_shards_than_those_of_the_run_are_refused(
    tmp_path: Path, tracked: Callable[[Path], Path]
) -> None:
    """They may have moved; they may not be others."""
    tracked(tmp_path)
    run = RunConfig("a", str(tmp_path))
    config = TrainingConfig(run=run, tracking=replace(TrainingConfig().tracking, system_metrics=0))

    def shards(path: str, *content: str) -> Any:
        manifest = SimpleNamespace(
            shards=[Shard(each) for each in content], to_json=lambda: "{}", release="d", split="train"
        )
        return SimpleNamespace(path=path, manifest=manifest)

    with pytest.raises(KeyboardInterrupt), experiment("train", config, {}, PRESETS, ()) as made:
        made.dataset(shards("here", "1", "2"), "train")
        raise KeyboardInterrupt
    again = replace(config, run=replace(run, resume=True))
    with pytest.raises(KeyboardInterrupt), experiment("train", again, {}, PRESETS, ()) as made:
        made.dataset(shards("moved", "1", "2"), "train")
        raise KeyboardInterrupt
    other = pytest.raises(DataError, match="other shards than run a began with")
    with other, experiment("train", again, {}, PRESETS, ()) as made:
        made.dataset(shards("here", "1", "3"), "train")
