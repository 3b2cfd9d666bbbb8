"""Passwords, keys and tokens of addresses, in any spelling: in no text, value, command line, file or record."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scenelift.config.cli import exiting
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, StorageError, TrackingError
from scenelift.io import secrets, storage
from scenelift.io.console import say
from scenelift.runs.config import DataConfig, RunConfig, TrainingConfig
from scenelift.runs.experiment import experiment
from scenelift.tracking import provenance, store
from scenelift.tracking.config import TrackingConfig

SECRETS = (
    "topsecret",
    "top@secret",
    "top/secret",
    "top?secret",
    "top#secret",
    "top:secret",
    "a@b/c@topsecret",
    "9/topsecret@1",
)
USERS = ("me", "m@e", "", "AKIAEXAMPLE")
PLACES = ("postgresql://{}@host/db", "postgresql+psycopg2://{}@host:5432/db", "http://{}@host:5000", "HTTPS://{}@host/x/y",
          "s3://{}@bucket/runs", "gs://{}@bucket", "az://{}@box/runs?region=x", "mysql:/{}@host/db")  # fmt: skip
BY_OPTION = ("http://host/?token={}", "s3://bucket/runs?secret_key={}&region=eu", "abfs://box/a?sig={}&scheme=https",
             "postgresql://host/db?sslmode=require;password={}", "http://host/#{}", "http://host/?{}")  # fmt: skip
ADDRESSES = [
    *(place.format(f"{user}:{secret}") for place, user, secret in itertools.product(PLACES, USERS, SECRETS)),
    *(place.format("topsecret") for place in PLACES),
    *(place.format("topsecret") for place in BY_OPTION),
]


def test_no_spelling_of_a_secret_is_shown() -> None:
    assert len(ADDRESSES) > 250
    for address in ADDRESSES:
        texts = (
            secrets.address(address),
            secrets.public(f"starting at {address} failed: {address!r}"),
            secrets.public(json.dumps({"uri": address, "more": [address]})),
            secrets.command(["python", "-m", "x", "--tracking.uri", address, f"--run.storage={address}"]),
            json.dumps(secrets.addresses({"a": [address], "b": {"c": address}})),
        )
        for text in texts:
            for part in ("secret", "AKIA", "a@b/c"):
                assert part not in text.replace("secret_key", ""), (address, text)
        assert "host" not in address or "host" in texts[0], "what is left says where it is"
        assert secrets.address(texts[0]) == texts[0], "nothing is left out twice"


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me@work/runs/mlflow.db",
        "http://127.0.0.1:5000",
        "postgresql://host:5432/db?sslmode=require",
        "s3://bucket/runs@home/a?endpoint_override=localhost:9000&scheme=http",
        "file:///data/a@b",
        "runs/a@b:c",
        "miou 0.3 (me@example.org): see docs/cluster.md",
        "",
    ],
)
def test_what_opens_nothing_stays(text: str) -> None:
    assert secrets.address(text) == secrets.public(text) == text


SECRET = "postgresql://someone:top@sec/ret@host:1/db"
BUCKET = "s3://KEYOFMINE:top/sec+ret@bucket/shards?region=eu-central-1"


def leaks(text: str) -> bool:
    return any(part in text for part in ("sec/ret", "sec+ret", "someone", "KEYOFMINE"))


def test_a_run_keeps_no_secret(
    tmp_path: Path,
    tracked: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every file that a run and MLflow leave, and everything that is printed, is searched."""
    from types import SimpleNamespace

    tracked(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--tracking.uri", SECRET, f"--data.train={BUCKET}"])
    local = store.resolve(None, tmp_path)
    resolve = store.resolve
    monkeypatch.setattr(
        store, "resolve", lambda uri, folder: local if uri == SECRET else resolve(uri, folder)
    )
    tracking = TrackingConfig(SECRET, system_metrics=0)
    config = TrainingConfig(DataConfig(BUCKET, BUCKET), tracking=tracking, run=RunConfig("a", str(tmp_path)))
    manifest = SimpleNamespace(
        shards=[], release="d", split="train", to_json=lambda: json.dumps({"command": f"make --out {BUCKET}"})
    )
    with (
        pytest.raises(StorageError),
        experiment("train", config, {"start": BUCKET}, {"p": config}, ()) as made,
    ):
        made.dataset(SimpleNamespace(path=BUCKET, manifest=manifest), "train")  # type: ignore[arg-type]
        made.run.record({"kind": "checkpoint", "step": 1, "folder": BUCKET})
        made.tracker.tags({"where": BUCKET})
        made.tracker.table([{"where": BUCKET}], "table")
        made.result |= {"checkpoint": BUCKET}
        raise StorageError(f"{BUCKET} is away")
    with pytest.raises(SystemExit), exiting():
        say(BUCKET)
        raise StorageError(f"{SECRET} and {BUCKET} are away")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "result.json", "run.json", "history.jsonl", "mlflow.db", "manifest.json"} <= {
        path.name for path in files
    }
    for path in files:
        assert not leaks(path.read_bytes().decode("latin-1")), path
    said = capsys.readouterr()
    assert not leaks(said.out + said.err)
    assert not leaks(provenance.tags()["command"])


def test_a_replayed_config_takes_secrets_from_the_environment_or_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    kept = {}
    for name, uri in (("database", SECRET), ("server", "http://me:secret@host:5000/x")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(dump(TrainingConfig(tracking=TrackingConfig(uri))))
        kept[name] = load(TrainingConfig, path).tracking.uri
        with pytest.raises(
            TrackingError, match=r"MLFLOW_TRACKING_URI.*MLFLOW_TRACKING_PASSWORD.*--tracking\.uri"
        ):
            store.resolve(kept[name], tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert store.resolve(kept["server"], tmp_path) == "http://host:5000/x"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SECRET)
    assert store.resolve(kept["database"], tmp_path) == SECRET
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@another/db")
    with pytest.raises(TrackingError, match=r"\*\*\*@host:1/db was kept without"):
        store.resolve(kept["database"], tmp_path)


def test_a_kept_bucket_is_opened_by_the_environments_keys() -> None:
    filesystem, path = storage.resolve(secrets.address(BUCKET))
    assert (filesystem.type_name, path) == ("s3", "bucket/shards")
    for address in ("abfs://box/a?sig=topsecret", "s3://a@b:c@bucket/x@y"):
        with pytest.raises(StorageError, match=r"kept without what opens it.*AWS_SECRET_ACCESS_KEY"):
            storage.resolve(secrets.address(address))


def test_an_address_that_is_none_is_not_repeated(tmp_path: Path) -> None:
    for wrong in ("postgresql:/me:secret@host/db", "me:secret@host", "postgresql//me:secret@host"):
        with pytest.raises(ConfigError) as caught:
            replace(TrackingConfig(), uri=wrong)
        assert "secret" not in str(caught.value)
    for wrong in (
        "nosuch://me:secret@host/x",
        "http://me:secret@:99999999/",
        "s3://me:secret@bucket?what=secret",
    ):
        with pytest.raises((TrackingError, StorageError)) as failed:
            store.resolve(wrong, tmp_path) if wrong[0] != "s" else storage.resolve(wrong)
        assert "secret" not in str(failed.value)
