"""Presets, overrides, replay and the one-line answers to mistakes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from scenelift.config import build as configuration
from scenelift.config import cli
from scenelift.config.constraints import PositiveFloat, PositiveInt, Settings
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class Inner(Settings):
    """A group."""

    epochs: PositiveInt = 3
    """Passes."""
    rate: PositiveFloat = 1e-3
    """Learning rate."""
    kind: Literal["a", "b"] = "a"
    """Kind."""
    planes: tuple[PositiveInt, ...] = (1, 2)
    """Widths."""
    fixed: tuple[int, int] = (4, 5)
    """Two numbers."""


@dataclass(frozen=True)
class Tree(Settings):
    """What the tests configure."""

    inner: Inner = Inner()
    """The group."""
    name: str | None = None
    """A name."""
    on: bool = False
    """A switch."""
    path: Path = Path("here")
    """A path."""


PRESETS = {"small": Tree(), "large": Tree(Inner(epochs=20))}


def parse(*argv):
    return cli.parse(PRESETS, argv, "python -m test")


def test_first_preset_is_the_default_and_options_win():
    assert parse() == Tree()
    got = parse("large", "--inner.rate", "1e-2", "--inner.planes", "3", "4", "5", "--on=true", "--name", "x")
    assert got == Tree(Inner(20, 0.01, planes=(3, 4, 5)), name="x", on=True)
    assert parse("--inner.kind", "b", "--name", "none").inner.kind == "b"
    assert parse("--path", "a/b").path == Path("a/b")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["larg"], "unknown preset larg; did you mean large?"),
        (["--inner.epoch", "3"], "unknown key inner.epoch; did you mean inner.epochs?"),
        (["--inner.epochs", "many"], "inner.epochs takes an int, not 'many'"),
        (["--inner.epochs", "2.5"], "inner.epochs takes an int"),
        (["--inner.epochs", "0"], "inner.epochs must be at least 1, not 0"),
        (["--inner.epochs", "-3"], "inner.epochs must be at least 1, not -3"),
        (["--inner.rate", "-1e-3"], "inner.rate must be more than 0, not -0.001"),
        (["--inner.rate", "nan"], "inner.rate must be a finite number, not nan"),
        (["--inner.rate=-inf"], "inner.rate must be a finite number, not -inf"),
        (["--inner.planes", "8", "0"], "inner.planes must be at least 1, not 0"),
        (["--inner.kind", "c"], "'c' is not one of a, b"),
        (["--inner.fixed", "1"], "takes 2 values, not 1"),
        (["--on", "perhaps"], "write true or false"),
        (["--name"], "needs a value"),
        (["--config", "nowhere.yaml"], "no config file at nowhere.yaml"),
        (["small", "stray"], "unexpected 'stray'"),
        (["--on", "true", "-x"], "unexpected '-x'"),
        (["--inner.epochs", "3", "4"], "unexpected '4'"),
        (["--inner.epo", "3"], "unknown key inner.epo"),
        (["large", "--config", "c.yaml"], "give the preset large or --config c.yaml"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_to_write(argv, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("'", ".")) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_a_saved_config_replays_word_for_word(tmp_path):
    want = parse("large", "--inner.planes", "7", "--name", "run")
    file = tmp_path / "config.yaml"
    file.write_text(dump(want))
    assert parse("--config", str(file)) == want
    assert parse("--config", str(file), "--inner.epochs", "5").inner.epochs == 5


def test_a_saved_config_of_another_make_is_refused(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("schema_version: 1\ninner: {epoch: 3}\n")
    with pytest.raises(ConfigError, match=r"unknown key inner.epoch; did you mean inner.epochs\?"):
        load(Tree, file)
    file.write_text("schema_version: 1\ninner: 3\n")
    with pytest.raises(ConfigError, match="inner must be a group"):
        load(Tree, file)
    file.write_text("inner: {")
    with pytest.raises(ConfigError, match="not YAML"):
        load(Tree, file)


def test_a_home_is_written_as_users_write_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse("--path=~/file").path == tmp_path / "file"
    (tmp_path / "saved.yaml").write_text(dump(Tree()).replace("path: here", "path: ~/file"))
    assert load(Tree, tmp_path / "saved.yaml").path == tmp_path / "file"
    with pytest.raises(ConfigError, match=r"path: .*; write the whole path"):
        parse("--path=~nobody-of-this-name/file")


def test_flatten_and_override_are_inverse():
    tree = parse("large", "--name", "x")
    assert configuration.override(Tree(), configuration.flatten(tree)) == tree


def test_help_is_made_of_the_docstrings(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("large", "--help")
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Presets: small, large" in text
    assert "Learning rate. (more than 0, default: 0.001)" in text
    assert "20" in text


def test_help_shows_the_keys_that_are_parsed_and_no_others(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = set(re.findall(r"^  --([\w.]+)", capsys.readouterr().out, re.MULTILINE))
    assert shown == {*configuration.flatten(Tree()), "config"}


def test_values_may_begin_with_a_dash_and_keys_may_have_dashes():
    assert parse("--name", "-7").name == "-7"
    assert parse("--name=--x").name == "--x"
    assert parse("--inner.planes=3").inner.planes == (3,)
    assert parse("--inner.rate", "1e-4", "--inner.rate", "1e-5").inner.rate == 1e-5, "the last one counts"


def run(tree):
    print(f"ran {tree.name}")


def test_a_command_ends_with_one_line_and_status_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["test", "--nam", "x"])
    with pytest.raises(SystemExit) as ended:
        cli.command("no.such.module", PRESETS)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: unknown key nam; did you mean name?\n"


def test_a_command_runs_what_its_module_has(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["test", "--name", "x"])
    cli.command(__name__, PRESETS)
    assert capsys.readouterr().out == "ran x\n"
