"""Every number that a user can set has bounds: those pass, what is beyond them, nan and infinity do not."""

import dataclasses
import importlib
import math
import pkgutil
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt

import datasets
import scenelift
import trainables
from scenelift.config.build import override
from scenelift.config.cli import parse
from scenelift.config.constraints import FolderName, PositiveInt, Seed, Settings, _scalars, check, hints
from scenelift.errors import ConfigError
from scenelift.runs.config import RunConfig
from scenelift.tune.config import SweepConfig
from tests.made.run_config import LeastConfig

MODULES = [
    module.name
    for package in (scenelift, trainables, datasets)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if module.name.rpartition(".")[2] == "config"
]
CLASSES = sorted(
    {
        each
        for name in MODULES
        for each in vars(importlib.import_module(name)).values()
        if isinstance(each, type) and issubclass(each, Settings) and each is not Settings
    },
    key=lambda cls: (cls.__module__, cls.__name__),
)
REQUIRED = {"TeacherConfig": {"weights": "random"}}
"""Values of fields that have no default."""


def numbers(hint: Any, rules: tuple[Any, ...] = ()) -> list[tuple[type, tuple[Any, ...]]]:
    """The numeric types that a field takes, with their constraints: of elements and of arms of unions too."""
    if get_origin(hint) is Annotated:
        return numbers(get_args(hint)[0], get_args(hint)[1:])
    if get_origin(hint) in (tuple, Union, UnionType):
        return [found for arg in get_args(hint) for found in numbers(arg)]
    return [(hint, rules)] if hint in (int, float) else []


def bounds(kind: type, rules: tuple[Any, ...]) -> tuple[list[float], list[float]]:
    """Values just within the bounds, and just beyond them."""
    within: list[float] = []
    beyond: list[float] = []
    for rule in rules:
        (limit,) = dataclasses.astuple(rule) if isinstance(rule, Ge | Gt | Le | Lt) else (None,)
        if limit is None:
            continue
        inside = 1 if isinstance(rule, Ge | Gt) else -1
        step = inside if kind is int else inside * 1e-9
        if isinstance(rule, Ge | Le):
            within, beyond = [*within, limit], [*beyond, limit - step]
        else:
            within, beyond = [*within, limit + step], [*beyond, limit]
    return [kind(value) for value in within], [kind(value) for value in beyond]


def with_value(cls: type, name: str, value: float) -> Settings:
    """The class's default settings with that value of a field, in every place of a tuple."""
    default = next(field.default for field in dataclasses.fields(cls) if field.name == name)
    hint = hints(cls)[name]
    fixed = [arm for arm in (hint, *get_args(hint)) if get_origin(arm) is tuple]
    length = len(default) if isinstance(default, tuple) else len(get_args(fixed[0])) if fixed else 0
    return cls(**REQUIRED.get(cls.__name__, {}), **{name: (value,) * length if length else value})


def fields() -> list[Any]:
    return [
        pytest.param(cls, name, kind, rules, id=f"{cls.__module__}.{cls.__name__}.{name}")
        for cls in CLASSES
        for name, hint in hints(cls).items()
        for kind, rules in numbers(hint)[:1]
    ]


def test_there_are_settings_to_check() -> None:
    assert len(CLASSES) > 40 and len(fields()) > 120


@pytest.mark.parametrize(("cls", "name", "kind", "rules"), fields())
def test_a_number_keeps_to_its_bounds(cls: type, name: str, kind: type, rules: tuple[Any, ...]) -> None:
    within, beyond = bounds(kind, rules)
    assert beyond, f"{cls.__name__}.{name} has no bounds"
    for value in within:
        try:
            with_value(cls, name, value)
        except ConfigError as error:  # of a check against other fields
            assert f"{name} must be at" not in str(error) and f"{name} must be more" not in str(error)
    for value in (*beyond, math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigError, match=rf"^{name} must be ") as caught:
            with_value(cls, name, value)
        assert "\n" not in str(caught.value)


def test_every_dataclass_in_a_preset_is_checked() -> None:
    def walk(config: Any) -> None:
        assert isinstance(config, Settings), f"{type(config).__name__} is not checked"
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if dataclasses.is_dataclass(value):
                walk(value)

    presets = [
        preset
        for name in MODULES
        for preset in getattr(importlib.import_module(name), "PRESETS", {}).values()
    ]
    assert len(presets) > 30
    for preset in presets:
        walk(preset)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (0, PositiveInt, "x must be at least 1, not 0"),
        (0, PositiveInt | None, "x must be at least 1, not 0"),
        ((1, 0), tuple[PositiveInt, ...] | None, "x must be at least 1, not 0"),
        (-1, Seed, "x must be at least 0 and less than "),
        (2**63, Seed, "not 9223372036854775808"),
        (math.nan, float | None, "x must be a finite number, not nan"),
        ("8", PositiveInt | str, None),
        (None, PositiveInt | None, None),
    ],
)
def test_messages(value: Any, hint: Any, message: str | None) -> None:
    if message is None:
        check(value, hint, "x")
        return
    with pytest.raises(ConfigError) as caught:
        check(value, hint, "x")
    assert message in str(caught.value)


BAD_NAMES = (
    *(
        "",
        " ",
        ".",
        "..",
        "../x",
        "../../thesis",
        "a/../../../x",
        "/etc",
        "a/b",
        "a\\b",
        "~/../x",
        ".hidden",
        " a",
        "a ",
    ),
    *("a\nb", "a\x00b", "a\x1b[2J", "a\u2028b", "\udce9", "a?b", "a#b", "%2e%2e", "x" * 201, "\u00e9" * 101),
    *("mlflow.db", "MLflow.db", "mlflow.db.lock", "artifacts", "Artifacts"),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_out_of_its_folder_or_is_taken_is_refused(name: str) -> None:
    for cls in (RunConfig, SweepConfig):
        with pytest.raises(ConfigError, match=r"^name is one plain name of a folder") as caught:
            cls(name=name)
        assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_a_name_is_refused_from_every_place_it_comes_from(tmp_path: Path) -> None:
    presets = {"least": LeastConfig()}
    (tmp_path / "theirs.yaml").write_text("schema_version: 1\nrun: {name: ../../thesis}\n")
    for argv in (["--run.name", "../../thesis"], ["--config", str(tmp_path / "theirs.yaml")]):
        with pytest.raises(ConfigError, match=r"^run.name is one plain name of a folder"):
            parse(presets, argv, "train")
    with pytest.raises(ConfigError, match=r"^run.name is one plain name of a folder"):
        override(presets["least"], {"run.name": "../../thesis"})


@pytest.mark.parametrize(
    "name", ["a", "distill-20261120-151218", "caf\u00e9 2", "a.b", "x" * 200, "a=b,c@d", "-x"]
)
def test_plain_names_are_accepted(name: str) -> None:
    assert RunConfig(name=name).name == name


def test_names_that_become_folders_are_checked_everywhere() -> None:
    """Fields that are joined to a path by a default: a new one must be a `FolderName` too."""
    named = {"name", "split", "version"}
    found = {
        f"{cls.__name__}.{name}": hint
        for cls in CLASSES
        for name, hint in hints(cls).items()
        if name in named and any(kind is str for _, kind, _ in _scalars("x", hint))
    }
    free = {"TrackingConfig.name", "WorldConfig.version"}  # of MLflow; has a pattern of its own
    for key, hint in found.items():
        rules = [rule for _, _, rules in _scalars("x", hint) for rule in rules]
        assert key in free or any(isinstance(rule, FolderName) for rule in rules), key
