"""Damaged shards and manifests: a clear error with the file's name, or the very samples that were written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenelift.errors import ShardError
from scenelift.io import storage
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import Kind, Manifest, ShardFile
from scenelift.samples.room import ROOM
from scenelift.shards.rows import SampleFile, read_column, read_rows, to_samples
from scenelift.shards.write import encode, read_summary
from tests.made.captions import made_up_image
from tests.made.frames import made_up_frame
from tests.made.rooms import made_up_room
from tests.scenelift.samples.test_frame import assert_same

FRAMES = [made_up_frame(f"frame-{number:05d}") for number in range(3)]


def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    """Half of the bits in the footer, which no checksum covers; the same ones every time."""
    data, draw = bytes(encode(FRAME, FRAMES, {"fingerprint": "x", "bad": []})), random.Random(0)
    footer, path, refused = int.from_bytes(data[-8:-4], "little"), tmp_path / "shard.parquet", 0
    for number in range(150):
        place = draw.randrange(len(data)) if number % 2 else len(data) - 8 - draw.randrange(footer)
        damaged = bytearray(data)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        file = SampleFile(str(tmp_path), path.name, str(number), len(FRAMES))
        try:
            read = to_samples(read_rows([(file, row) for row in range(3)]), FRAME)
            tokens = read_column(file, "token")
        except ShardError as error:
            refused += 1
            assert "\n" not in str(error) and ("shard.parquet" in str(error) or "is damaged" in str(error))
            continue
        assert tokens == [frame.token for frame in FRAMES]
        for one, again in zip(FRAMES, read, strict=True):
            assert_same(one, again)
    assert refused > 75


def test_every_bit_of_the_data_is_under_a_checksum(tmp_path: Path) -> None:
    """Of images and other columns that are stored as they are, where nothing else could tell."""
    data = bytes(encode(FRAME, FRAMES[:1], {}))
    place = data.index(FRAMES[0].images[0]) + 9
    (tmp_path / "a.parquet").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(ShardError, match=r"a\.parquet.*CRC"):
        read_rows([(SampleFile(str(tmp_path), "a.parquet", "", 1), 0)])


def test_a_damaged_shard_is_written_again_by_the_next_job(tmp_path: Path) -> None:
    data = bytes(encode(FRAME, FRAMES, {"fingerprint": "x"}))
    footer = int.from_bytes(data[-8:-4], "little")
    for text in (b"", b"PAR1", data[:-100], data[: -8 - footer] + bytes(footer) + data[-8:]):
        (tmp_path / "a.parquet").write_bytes(text)
        assert read_summary(*storage.resolve(tmp_path / "a.parquet")) is None


class Source:
    protocol, classes, name, left_out = "made up, detected boxes", ("chair", "table"), "made up", {}


def manifest(kind: Kind[Any], about: Any) -> dict[str, Any]:
    one = ShardFile("shard-00000.parquet", 2, 10, "ab")
    made = Manifest(kind.name, kind.schema_version, "d", "v", "all", about, 2, 10, (one,), (), "make")
    values: dict[str, Any] = json.loads(made.to_json())
    return values


def described(kind: Kind[Any]) -> dict[str, Any]:
    """A manifest as `write_shards` makes it, of one made-up sample."""
    from datasets.captions.options import CaptionOptions
    from tests.made.frames import OPTIONS, MadeUp

    if kind == FRAME:
        about = kind.describe([kind.summarize(FRAMES, MadeUp(3))], MadeUp(3), OPTIONS)
    elif kind == ROOM:
        about = kind.describe([kind.summarize([made_up_room("a")], Source)], Source, None)
    else:
        about = kind.describe([kind.summarize([made_up_image("a")], Source)], Source, CaptionOptions())
    return manifest(kind, about)


KINDS = (FRAME, ROOM, CAPTIONED_IMAGE)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_manifest_with_any_value_replaced_is_refused_or_read(kind: Kind[Any]) -> None:
    """Each value, at any depth, by one of another type: never another error than ours."""
    whole = described(kind)
    Manifest.from_json(json.dumps(whole), "manifest.json", kind)
    refused = 0
    for path in paths(whole):
        for odd in (None, "x", -1, [], {}, [[]], 1e400):
            changed = json.loads(json.dumps(whole))
            replace_at(changed, path, odd)
            try:
                Manifest.from_json(json.dumps(changed), "manifest.json", kind)
            except ShardError as error:
                refused += 1
                assert (
                    str(error).startswith("manifest.json ")
                    and "\n" not in str(error)
                    and len(str(error)) < 500
                )
    assert refused > 50


def paths(values: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    found = [above] if above else []
    return (
        found + [path for key, value in list(items)[:6] for path in paths(value, (*above, key))]
        if items
        else found
    )


def replace_at(values: Any, path: tuple[Any, ...], odd: Any) -> None:
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = odd


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m["shards"].append(m["shards"][0]) or m.update(samples=4),
            "lists shard-00000.parquet 2 times",
        ),
        (lambda m: m["shards"][0].update(name="../secret.parquet"), "is not a file of the folder"),
        (lambda m: m["shards"][0].update(name="/etc/passwd"), "is not a file of the folder"),
        (lambda m: m.update(samples=3), "says 3 samples, and its shards have 2"),
        (lambda m: m["shards"][0].update(samples=-2), "has -2 samples"),
        (lambda m: m["about"]["vocabulary"]["classes"].append("more"), "damaged"),
        (lambda m: m["about"].pop("pairs"), "no pairs"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(change: Callable[[Any], None], message: str) -> None:
    values = described(FRAME)
    change(values)
    with pytest.raises(ShardError, match=message):
        Manifest.from_json(json.dumps(values), "manifest.json", FRAME)
