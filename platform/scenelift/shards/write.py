"""Any data set -> a folder of shards: a Ray Data job that continues where a killed one stopped.

A shard is renamed when it is complete, and its footer describes its content; the manifest is built from the
footers. The same job gives the same bytes however often it was interrupted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from pyarrow import fs as pafs
from tqdm import tqdm

from scenelift import errors
from scenelift.cluster import connect as cluster
from scenelift.cluster import resources
from scenelift.errors import DataError, FrameError, SceneliftError, ShardError, StorageError
from scenelift.io import storage
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import MANIFEST, BadSample, Kind, Manifest, S, SampleKey, SampleSource, ShardFile

BAD = "bad.json"
"""Written instead of a manifest if too many samples are bad."""


@dataclass(frozen=True)
class _Job:
    """The job, for every task of it."""

    kind: Kind[Any]
    source: SampleSource
    options: Any
    out: str
    fingerprint: str
    """Hash of everything that determines the bytes, except the content of the data set's files."""

    def path(self, number: int) -> str:
        """Path of a shard, on the file system of `out`."""
        return storage.join(storage.resolve(self.out)[1], f"shard-{number:05d}.parquet")


@dataclass
class _Done:
    """A finished shard."""

    number: int
    file: ShardFile
    summary: dict[str, Any]


def write_shards(
    source: SampleSource,
    split: str | None,
    out: str,
    options: Any,
    per_shard: int = 32,
    max_bad: int = 0,
    command: str = "",
    progress: bool = True,
    kind: Kind[Any] = FRAME,
) -> Manifest:
    """Write the shards of a split into the folder or URI `out` on all cores of the connected Ray.

    options: the dataclass that the source's `read` takes. kind: of the samples. Called again, it writes only the
    missing shards and those with bad samples. Bad samples are listed; more than `max_bad` of them raise a
    DataError and are listed in `bad.json` instead of a manifest. Also raises ShardError if the folder holds shards
    of another job, StorageError if it cannot be written or the disk is full.
    """
    keyframes: list[SampleKey] = source.list_samples(split)
    _require_names(kind, source, keyframes)
    decides = [
        kind.name,
        kind.schema_version,
        kind.decides(source),
        source.name,
        source.version,
        dataclasses.asdict(options),
        per_shard,
        [keyframe.token for keyframe in keyframes],
    ]
    fingerprint = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    out = storage.absolute(out)  # processes that write may be in another folder
    job = _Job(kind, source, options, out, fingerprint)
    chunks = [keyframes[i : i + per_shard] for i in range(0, len(keyframes), per_shard)]
    _prepare(job, keyframes, len(chunks))
    done = sorted(_run(job, chunks, progress), key=lambda shard: shard.number)
    bad = [BadSample(token, reason) for shard in done for token, reason in shard.summary["bad"]]
    _judge(job, bad, len(keyframes), max_bad)
    described = _describe(job, split, done, bad, command)
    _write(out, MANIFEST, described.to_json())
    return described


def _require_names(kind: Kind[Any], source: SampleSource, keyframes: Sequence[SampleKey]) -> None:
    """DataError unless there are samples, each with a name of its own."""
    if not keyframes:
        raise DataError(f"{source.name} lists no {kind.name}s; there is nothing to write")
    token, most = Counter(keyframe.token for keyframe in keyframes).most_common(1)[0]
    if most > 1:
        raise DataError(f"{source.name} lists the {kind.name} {token} {most} times; each needs its own token")


def _prepare(job: _Job, keyframes: Sequence[SampleKey], shards: int) -> None:
    """Create the folder; fail here rather than after hours."""
    filesystem, folder = storage.resolve(job.out)
    storage.make_folder(filesystem, folder)
    storage.remove_temporary(filesystem, folder)
    finished = [name for name in storage.list_files(filesystem, folder) if name.endswith(".parquet")]
    for path in (storage.join(folder, name) for name in finished):
        summary = read_summary(filesystem, path)
        if summary is not None and summary.get("fingerprint") != job.fingerprint:
            raise ShardError(
                f"{path} belongs to another job (other data set, split, options, classes or version); "
                "write into another folder or delete this one"
            )
    missing = 1 - len(finished) / shards
    if missing > 0:
        storage.require_space(job.out, int(missing * len(keyframes) * _sample_bytes(job, keyframes)))


def _sample_bytes(job: _Job, keyframes: Sequence[SampleKey]) -> int:
    """Bytes of one stored sample, from the first readable one; 0 if none of the first few can be read."""
    for keyframe in keyframes[:8]:
        try:
            return len(encode(job.kind, [job.kind.read(job.source, keyframe, job.options)], {}))
        except FrameError:
            continue
    return 0


def _run(job: _Job, chunks: Sequence[Sequence[SampleKey]], progress: bool) -> Iterator[_Done]:
    specs = [{"number": number, "keyframes": list(chunk)} for number, chunk in enumerate(chunks)]
    rows = (
        ray.data.from_items(specs, override_num_blocks=len(specs))
        .map(_task, fn_args=(job,), num_cpus=resources.task_cpus())
        .iter_rows()
    )
    interval = 0.1 if sys.stderr.isatty() else 10.0
    total = sum(map(len, chunks))
    bar = tqdm(total=total, unit=job.kind.name, desc="shards", disable=not progress, mininterval=interval)
    with bar, cluster.user_errors():
        for row in rows:
            if row["mistake"]:
                raise getattr(errors, row["mistake"])(row["summary"])
            bar.update(len(chunks[row["number"]]))
            yield _Done(row["number"], ShardFile(**json.loads(row["file"])), json.loads(row["summary"]))


def _task(spec: dict[str, Any], job: _Job) -> dict[str, Any]:
    """Write one shard, unless it is finished; a user's mistake is in the row: Ray Data would wrap it."""
    row = {"number": spec["number"], "mistake": "", "file": "", "summary": ""}
    try:
        done = _finished(job, spec["number"]) or _make(job, spec["number"], spec["keyframes"])
    except SceneliftError as error:
        return row | {"mistake": type(error).__name__, "summary": str(error)}
    return row | {"file": json.dumps(vars(done.file)), "summary": json.dumps(done.summary)}


def _finished(job: _Job, number: int) -> _Done | None:
    """The shard if it exists already, unless its bad samples must be tried again."""
    path = job.path(number)
    filesystem, _ = storage.resolve(job.out)
    summary = read_summary(filesystem, path)
    if summary is None or summary["bad"]:
        return None
    return _done(path, number, storage.read_bytes(filesystem, path), summary)


def _make(job: _Job, number: int, keyframes: Sequence[SampleKey]) -> _Done:
    samples: list[Any] = []
    bad: list[tuple[str, str]] = []
    for keyframe in keyframes:
        try:
            samples.append(job.kind.read(job.source, keyframe, job.options))
        except FrameError as error:
            bad.append((keyframe.token, str(error)))
    summary = {
        "kind": job.kind.name,
        "schema_version": job.kind.schema_version,
        "fingerprint": job.fingerprint,
        "samples": len(samples),
        "bad": bad,
        "about": job.kind.summarize(samples, job.source),
    }
    data = encode(job.kind, samples, summary)
    filesystem, path = storage.resolve(job.out)[0], job.path(number)
    if not storage.exists(filesystem, path) or data != pa.py_buffer(storage.read_bytes(filesystem, path)):
        storage.write_atomic(filesystem, path, data)
    return _done(path, number, data, summary)


def _done(path: str, number: int, data: bytes | pa.Buffer, summary: dict[str, Any]) -> _Done:
    digest = hashlib.sha256(data).hexdigest()
    return _Done(number, ShardFile(path.rpartition("/")[2], summary["samples"], len(data), digest), summary)


def _judge(job: _Job, bad: Sequence[BadSample], samples: int, max_bad: int) -> None:
    """Raise DataError for too many bad samples, and write their list instead of a manifest."""
    filesystem, folder = storage.resolve(job.out)
    failed = len(bad) > max_bad or len(bad) == samples
    stale = MANIFEST if failed else BAD
    storage.delete(filesystem, storage.join(folder, stale))
    if not failed:
        return
    _write(job.out, BAD, json.dumps([vars(sample) for sample in bad], indent=2) + "\n")
    reasons = "; ".join(f"{sample.token}: {sample.reason}" for sample in bad[:3])
    advice = "repair them" if len(bad) == samples else f"repair them or allow them with --max_bad {len(bad)}"
    raise DataError(
        f"{len(bad)} of {samples} {job.kind.name}s cannot be read, {max_bad} are allowed; {advice}. {reasons}"
        f"{'; ...' if len(bad) > 3 else ''} (all in {storage.join(job.out, BAD)})"
    )


def _describe(
    job: _Job, split: str | None, done: Sequence[_Done], bad: Sequence[BadSample], command: str
) -> Manifest:
    about = job.kind.describe([shard.summary["about"] for shard in done], job.source, job.options)
    return Manifest(
        kind=job.kind.name,
        schema_version=job.kind.schema_version,
        dataset=job.source.name,
        dataset_version=job.source.version,
        split=split or "all",
        about=json.loads(json.dumps(about)),  # lists instead of tuples, as when it is read back
        samples=sum(shard.file.samples for shard in done),
        bytes=sum(shard.file.bytes for shard in done),
        shards=tuple(shard.file for shard in done),
        bad=tuple(bad),
        command=command,
    )


def _write(out: str, name: str, text: str) -> None:
    filesystem, folder = storage.resolve(out)
    storage.write_atomic(filesystem, storage.join(folder, name), text.encode())


_METADATA = b"scenelift"
"""Key of the summary in a shard's footer."""


def encode(kind: Kind[S], samples: Sequence[S], summary: dict[str, Any]) -> pa.Buffer:
    """The Parquet file of the samples; the same bytes for the same samples and summary."""
    sink = pa.BufferOutputStream()
    compression = {
        _leaf(field.name, field.type): "zstd" if field.name in kind.compressed else "none"
        for field in kind.schema
    }
    # Readers compare the checksums of pages: 0.3 ms of CPU for a frame of 880 kB, which takes 0.2 ms to read
    # without (one core of 2). The manifest's checksum of the whole file would cost 0.6 ms and a second reading.
    plain = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, kind.schema, compression=compression, **plain) as writer:
        for sample in samples:
            writer.write_table(pa.Table.from_pylist([kind.to_row(sample)], schema=kind.schema))
        writer.add_key_value_metadata({_METADATA: json.dumps(summary).encode()})
    return sink.getvalue()


def _leaf(name: str, kind: pa.DataType) -> str:
    """Parquet's name for the values of a column."""
    return _leaf(f"{name}.list.element", kind.value_type) if pa.types.is_list(kind) else name


def read_summary(filesystem: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """The summary in a shard's footer; None if the file does not exist or is not a complete shard."""
    if not storage.exists(filesystem, path):
        return None
    try:
        with storage.explained(filesystem, path), filesystem.open_input_file(path) as source:
            metadata = pq.read_metadata(source).metadata or {}
        return cast("dict[str, Any]", json.loads(metadata.get(_METADATA, b"{}")))
    except (pa.ArrowInvalid, StorageError, ValueError):  # damaged: it is written again
        return None
