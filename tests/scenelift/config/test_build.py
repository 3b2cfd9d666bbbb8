"""Presets, overrides, replay and the one-line answers to mistakes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from scenelift.config import build as configuration
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    """A group."""

    epochs: int = 3
    """Passes."""
    rate: float = 1e-3
    """Learning rate."""
    kind: Literal["a", "b"] = "a"
    """Kind."""
    planes: tuple[int, ...] = (1, 2)
    """Widths."""
    fixed: tuple[int, int] = (4, 5)
    """Two numbers."""

    def __post_init__(self):
        if self.epochs < 1:
            raise ConfigError(f"inner.epochs is at least 1, not {self.epochs}")


@dataclass(frozen=True)
class Tree:
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
    return configuration.parse(Tree, PRESETS, argv, "python -m test")


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
        (["--inner.epochs", "0"], "at least 1"),
        (["--inner.kind", "c"], "'c' is not one of a, b"),
        (["--inner.fixed", "1"], "takes 2 values, not 1"),
        (["--on", "perhaps"], "write true or false"),
        (["--name"], "needs a value"),
        (["--config", "nowhere.yaml"], "no config file at nowhere.yaml"),
        (["small", "stray"], "unexpected 'stray'"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_to_write(argv, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("'", ".")) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_a_saved_config_replays_word_for_word(tmp_path):
    want = parse("large", "--inner.planes", "7", "--name", "run")
    file = tmp_path / "config.yaml"
    file.write_text(configuration.dump(want))
    assert parse("--config", str(file)) == want
    assert parse("--config", str(file), "--inner.epochs", "5").inner.epochs == 5


def test_a_saved_config_of_another_make_is_refused(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("schema_version: 1\ninner: {epoch: 3}\n")
    with pytest.raises(ConfigError, match=r"unknown key inner.epoch; did you mean inner.epochs\?"):
        configuration.load(Tree, file)
    file.write_text("schema_version: 1\ninner: 3\n")
    with pytest.raises(ConfigError, match="inner must be a group"):
        configuration.load(Tree, file)
    file.write_text("inner: {")
    with pytest.raises(ConfigError, match="not YAML"):
        configuration.load(Tree, file)


def test_flatten_and_override_are_inverse():
    tree = parse("large", "--name", "x")
    assert configuration.override(Tree(), configuration.flatten(tree)) == tree


def test_help_is_made_of_the_docstrings(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("large", "--help")
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Presets: small, large" in text
    assert "Learning rate. (default: 0.001)" in text
    assert "20" in text


def test_a_command_ends_with_one_line_and_status_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["test", "--nam", "x"])
    with pytest.raises(SystemExit) as ended:
        configuration.command(lambda tree: None, Tree, PRESETS, "python -m test")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: unknown key nam; did you mean name?\n"
