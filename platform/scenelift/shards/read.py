"""A folder of shards: checked when opened, read by sample, streamed to training in a given order."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from scenelift.errors import ShardError
from scenelift.io import storage
from scenelift.samples.frame import FRAME, Frame, FrameSet
from scenelift.samples.kind import MANIFEST, Kind, Manifest, S
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards import rows

if TYPE_CHECKING:
    import ray.data

B = TypeVar("B")

_SEGMENT_BYTES = 40 << 20
"""Bytes of one pipeline of a stream. Ray Data's executor is a thread of the training process and competes for the
interpreter lock as long as there is something to read; a short pipeline finishes early and then costs nothing."""
_LARGEST = 1 << 28
"""Bytes of a manifest."""
_READERS = 2
"""Concurrent read tasks of one stream; one reads about 500 frames a second from a local disk."""


@dataclass(frozen=True)
class Samples(Generic[S]):
    """Samples 0..len-1 of a folder of shards, in the data set's order. Small to pickle."""

    path: str
    """Folder or URI."""
    manifest: Manifest
    kind: Kind[S]

    def __len__(self) -> int:
        return self.manifest.samples

    @functools.cached_property
    def tokens(self) -> tuple[str, ...]:
        """[len] unique names of the samples."""
        return self._column("token")

    @functools.cached_property
    def scenes(self) -> tuple[str, ...]:
        """[len] name of each sample's scene."""
        return self._column("scene")

    def _column(self, name: str) -> tuple[str, ...]:
        """One small column of every file, without reading the rest."""
        return tuple(itertools.chain.from_iterable(rows.read_column(file, name) for file in self._files))

    @functools.cached_property
    def _files(self) -> list[rows.SampleFile]:
        shards = self.manifest.shards
        return [rows.SampleFile(self.path, each.name, each.sha256, each.samples) for each in shards]

    @functools.cached_property
    def _starts(self) -> NDArray[np.int64]:
        """[S + 1] index of the first sample of each shard, and the number of samples."""
        return np.cumsum([0, *(shard.samples for shard in self.manifest.shards)])

    def _places(self, indices: NDArray[np.int64]) -> list[rows.Place]:
        assert not len(indices) or (indices.min() >= 0 and indices.max() < len(self)), "no such sample"
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        inside = (indices - self._starts[shards]).tolist()
        return [(self._files[shard], row) for shard, row in zip(shards.tolist(), inside, strict=True)]

    def read(self, index: int) -> S:
        """One sample, read in this process."""
        return self.read_many([index])[0]

    def read_many(self, indices: ArrayLike) -> list[S]:
        """Samples in the given order, read in this process. Their arrays are read-only."""
        places = self._places(np.asarray(indices, np.int64))
        return rows.to_samples(rows.read_rows(places), self.kind) if places else []

    def dataset(self, indices: ArrayLike | None = None) -> ray.data.Dataset:
        """Rows {"index" of the sample, "position", columns...} for map_batches, in any order; by default all."""
        import ray.data

        from scenelift.shards import datasource

        wanted = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        sample_bytes = self.manifest.bytes // max(1, len(self))
        source = datasource.ShardDatasource(wanted, self._places(wanted), sample_bytes)
        return ray.data.read_datasource(
            source,
            num_cpus=datasource.CPUS,
            concurrency=min(_READERS, max(1, source.tasks)),
            override_num_blocks=source.tasks,
        )

    def stream(
        self, indices: ArrayLike, collate: Callable[[list[S], int], B], batch_size: int, prefetch: int = 2
    ) -> Iterator[B]:
        """Batches of exactly these samples in exactly this order; needs Ray (`cluster.connect`, or a worker).

        Batch i is collate(samples indices[i * batch_size : (i + 1) * batch_size], i); the last one may be smaller.
        A worker passes all remaining epochs in one call, since starting takes half a second. Ray tasks read;
        `collate` runs in threads of this process, up to `prefetch` batches ahead and several at a time, so its
        random draws must depend on i or the samples alone. Samples are views of shared memory: collate must copy
        what it keeps.
        """
        from scenelift.cluster import connect as cluster
        from scenelift.cluster import ray_internals

        wanted = np.asarray(indices, np.int64)
        sample_bytes = self.manifest.bytes / max(1, len(self))
        step = max(1, int(_SEGMENT_BYTES / sample_bytes) // batch_size) * batch_size
        with cluster.user_errors():
            for start in range(0, len(wanted), step):
                dataset = self.dataset(wanted[start : start + step])
                dataset.context.execution_options.preserve_order = True
                ray_internals.pace(dataset.context)

                def collated(table: pa.Table, first: int = start // batch_size) -> B:
                    number = first + table["position"][0].as_py() // batch_size
                    return collate(rows.to_samples(table, self.kind), number)

                yield from dataset.iter_torch_batches(
                    batch_size=batch_size,
                    prefetch_batches=prefetch,
                    collate_fn=ray_internals.arrow_collate(collated),
                    device="cpu",
                )


@dataclass(frozen=True)
class Shards(Samples[Frame]):
    """Frames of a folder of shards."""

    kind: Kind[Frame] = FRAME

    @classmethod
    def open(cls, path: str, classes: Sequence[str] | None = None) -> Shards:
        """`open_samples` for frames; ShardError also for a class list that differs from `classes`."""
        opened = cls(*_checked(path, FRAME))
        if classes is not None and list(classes) != list(opened.vocabulary.classes):
            extra = sorted(set(opened.vocabulary.classes) - set(classes))
            missing = sorted(set(classes) - set(opened.vocabulary.classes))
            parts = [f"it has {', '.join(extra)}"] if extra else []
            parts += [f"it lacks {', '.join(missing)}"] if missing else []
            difference = "; ".join(parts) or "the same classes in another order"
            advice = "use shards made for the same classes"
            raise ShardError(f"{opened.path} has another class list ({difference}); {advice}")
        return opened

    @functools.cached_property
    def about(self) -> FrameSet:
        """Description of the frames."""
        return FrameSet.of(self.manifest)

    @property
    def vocabulary(self) -> Vocabulary:
        """Meaning of the labels, from the manifest."""
        return self.about.vocabulary

    @functools.cached_property
    def point_features(self) -> int:
        """Width of a point's own features, from the first frame."""
        return int(self.read(0).features.shape[1])


def open_samples(path: str, kind: Kind[S]) -> Samples[S]:
    """Open and check a folder. ShardError for a missing manifest or file, another kind, schema version or size."""
    return Samples(*_checked(path, kind), kind)


def _checked(path: str, kind: Kind[Any]) -> tuple[str, Manifest]:
    filesystem, folder = storage.resolve(path)
    files = storage.list_files(filesystem, folder)
    if MANIFEST not in files:
        raise ShardError(_no_manifest(str(path), files, kind))
    file = storage.join(folder, MANIFEST)
    try:
        text = storage.read_bytes(filesystem, file, _LARGEST).decode()
    except UnicodeDecodeError:
        raise ShardError(f"{file} is not a manifest; make the shards again") from None
    described = Manifest.from_json(text, file, kind)
    for shard in described.shards:
        if shard.name not in files:
            raise ShardError(f"{path} lacks {shard.name}; run the same command again: {described.command}")
        if files[shard.name] != shard.bytes:
            raise ShardError(
                f"{path}/{shard.name} has {files[shard.name]} bytes, not {shard.bytes} as in the manifest; "
                f"delete it and run again: {described.command}"
            )
    return path if "://" in str(path) else folder, described


def _no_manifest(path: str, files: dict[str, int], kind: Kind[Any]) -> str:
    if "bad.json" in files:
        return f"{path} has no {MANIFEST}: too many samples were bad, see its bad.json"
    if any(name.endswith(".parquet") for name in files):
        return f"{path} has no {MANIFEST}: the job was interrupted; run the same command again"
    return f"{path} has no shards; write some with: {kind.make_command} --out {path}"
