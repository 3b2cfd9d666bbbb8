"""Protects the table reader: it gives what json.load gives, in every form of the text and wherever it is cut."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from datasets.nuscenes import tables
from datasets.nuscenes.tables import read_table
from scenelift.errors import DataError

SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("number", pa.int64()),
        ("key", pa.bool_()),
        ("rotation", pa.list_(pa.float64())),
        ("intrinsic", pa.list_(pa.list_(pa.float64()))),
    ]
)
FORMS = {
    "as nuScenes": {"indent": 0},
    "indented": {"indent": 4},
    "one line": {},
    "compact": {"separators": (",", ":")},
    "spaced": {"separators": (" , ", " : ")},
    "not ascii": {"ensure_ascii": False},
}
PIECE = tables._PIECE
NASTY = ['"', "\\", "},{", "}, {", "},\n{", '{"token": "x"}', "[", "]", "\n", "é", "😀", "\x01"]


def _rows(seed: int, count: int, nasty: bool = False, nested: bool = False) -> list[dict]:
    """Random rows with keys in any order, some of them missing, and some that nobody asked for."""
    draw = random.Random(seed)

    def text() -> str:
        return "".join(draw.choices(NASTY if nasty else "0123456789abcdef_/", k=draw.randint(0, 12)))

    rows = []
    for _ in range(count):
        row = {
            "token": text(),
            "number": draw.randint(-5, 10**17),
            "key": draw.random() < 0.5,
            "other": text(),
        }
        row["rotation"] = [draw.choice([1, -2.5, 3e-7]) for _ in range(draw.randint(0, 4))]
        row["intrinsic"] = [[1, 2.0, 3]] * draw.randint(0, 3)
        if nested:
            row["inner"] = {"token": "no", "list": [{"token": text()}, {}, {"deep": {}}]}
        keys = draw.sample(list(row), len(row))
        rows.append({key: row[key] for key in keys if key == "token" or draw.random() < 0.95})
    return rows


def _expected(path: Path) -> list[dict]:
    return [{name: row.get(name) for name in SCHEMA.names} for row in json.loads(path.read_text())]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read row by row."""
    paths: list[Path] = []
    parse = tables._parse_rows

    def watched(path: Path, schema: pa.Schema):
        paths.append(path)
        return parse(path, schema)

    monkeypatch.setattr(tables, "_parse_rows", watched)
    return paths


@pytest.fixture(params=[200, 3000, PIECE])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces of less than a row, of some rows, and the real one."""
    monkeypatch.setattr(tables, "_PIECE", request.param)
    monkeypatch.setattr(tables, "_WINDOW", max(100, request.param // 4))
    monkeypatch.setattr(tables, "_ROWS", 7)
    return request.param


@pytest.mark.parametrize("form", FORMS)
def test_tables_in_every_form_are_what_json_says(tmp_path: Path, form: str, piece: int, slow: list):
    path = tmp_path / "table.json"
    for seed, count in enumerate([0, 1, 2, 60, 61]):
        path.write_text(json.dumps(_rows(seed, count), **FORMS[form]))
        assert read_table(path, SCHEMA).to_pylist() == _expected(path)
    assert not slow, "plain tables are read the fast way"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nested", [False, True])
def test_strings_that_look_like_rows_and_nested_rows_do_no_harm(
    tmp_path: Path, form: str, nested: bool, piece: int, slow: list
):
    path = tmp_path / "table.json"
    for seed in range(5):
        path.write_text(" \n" + json.dumps(_rows(seed, 40, nasty=True, nested=nested), **FORMS[form]) + "\n ")
        assert read_table(path, SCHEMA).to_pylist() == _expected(path)
    if piece == PIECE:
        assert not slow, "what is not cut is read the fast way"
    else:
        assert slow, "cuts inside of rows were met"


def test_numbers_that_are_not_finite_are_read(tmp_path: Path, piece: int):
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"token": "a", "rotation": [float("nan"), float("inf"), 1]}]))
    (row,) = read_table(path, SCHEMA).to_pylist()
    assert str(row["rotation"]) == "[nan, inf, 1.0]"


def test_only_the_wanted_rows_stay(tmp_path: Path, piece: int):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(_rows(0, 100), indent=0))
    kept = read_table(path, SCHEMA, lambda rows: rows["key"]).to_pylist()
    assert kept == [row for row in _expected(path) if row["key"]] and 20 < len(kept) < 80


def test_a_row_without_a_required_column_is_refused(tmp_path: Path, piece: int):
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"token": "a"}] * 50 + [{"number": 1}]))
    with pytest.raises(DataError, match=r"table\.json has a row without token"):
        read_table(path, pa.schema([pa.field("token", pa.string(), nullable=False)]))
    assert len(read_table(path, SCHEMA)) == 51


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[",
        "[]]",
        "[1]",
        "[null]",
        '{"token": "a"}',
        '[{"token": "a"}',
        '[{"token": "a"}, {"token": ',
        '[{"token": "a"}] [{"token": "b"}]',
        '[{"token": 1}]',
        '[{"number": "1"}]',
        '[{"number": 123456789012345678901234567890}]',
        '[{"token": "a"}, {"token" "b"}]',
        '[{"token": "\ud800"}]',
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, text: str, piece: int):
    path = tmp_path / "table.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"table\.json is not a table of the right form") as caught:
        read_table(path, SCHEMA)
    assert "\n" not in str(caught.value)


def test_a_table_that_was_cut_off_is_refused_wherever(tmp_path: Path, piece: int):
    path = tmp_path / "table.json"
    whole = json.dumps(_rows(0, 20, nested=True), indent=0)
    for cut in range(1, len(whole), 97):
        path.write_text(whole[:cut])
        with pytest.raises(DataError, match="not a table of the right form"):
            read_table(path, SCHEMA)
