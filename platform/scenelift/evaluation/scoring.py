"""Scores predictors on every frame of a folder of shards: a Ray Data job that reads each frame once.

Without GPUs the work is done by Ray's process pool, which keeps its imports, so that a second scoring starts at
once. On GPUs it is done by actors, which release the GPU when they end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scenelift.cluster import connect as cluster
from scenelift.errors import DataError
from scenelift.evaluation.metrics import Absent, Counts, Scores, confusion, scores
from scenelift.io.storage import Location
from scenelift.nn.student import Student
from scenelift.points.collate import Collate, VoxelConfig
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards

if TYPE_CHECKING:
    from scenelift.teachers.clip import DenseClip, TeacherConfig

Labels = NDArray[np.uint8]
GROUPS = ("all", "seen", "unseen")
"""All points; those that a camera sees; those that no camera sees."""


class Predictor(Protocol):
    """Anything that labels the points of a frame."""

    def predict(self, frame: Frame) -> Labels:
        """[N_k] predicted labels 1..C of the keyframe's points, 0 for no prediction."""


Make = Callable[[torch.device], Mapping[str, Predictor]]
"""Builds predictors by name on a device, in the process that runs them."""


@dataclass(frozen=True)
class Predictors:
    """Builds the predictors of a segmentation run: saved students by name, and the teacher."""

    vocabulary: Vocabulary
    students: Mapping[str, Location]
    """Name -> folder that `Student.save` wrote, an absolute path or a URI."""
    teacher: TeacherConfig | None = None

    def __call__(self, device: torch.device) -> dict[str, Predictor]:
        predictors: dict[str, Predictor] = {
            name: Student.load(path).to(device) for name, path in self.students.items()
        }
        if self.teacher is not None:
            from scenelift.teachers.clip import build_teacher  # slow to import, not needed for a student

            predictors["teacher"] = TeacherPredictor(build_teacher(self.teacher, self.vocabulary).to(device))
        return predictors


class TeacherPredictor:
    """The teacher's labels projected to the points that cameras see: the teacher's score without a student."""

    def __init__(self, teacher: DenseClip) -> None:
        self.teacher = teacher

    def predict(self, frame: Frame) -> Labels:
        """Argmax of a point's scores, averaged over the images that show it; 0 for points no camera sees."""
        batch = Collate(VoxelConfig())([frame]).to(self.teacher.text.device)
        pair_scores = self.teacher.pixel_scores(batch.images, *batch.pair_pixels.unbind(1))
        total = pair_scores.new_zeros(len(batch.labels), pair_scores.shape[1])
        total.index_add_(0, batch.pair_points, pair_scores)
        labels = total.argmax(1) + 1
        seen = torch.zeros_like(labels, dtype=torch.bool).index_fill_(0, batch.pair_points, True)
        return torch.where(seen, labels, 0).to(torch.uint8).cpu().numpy()


@dataclass(frozen=True)
class Evaluation:
    """Confusion matrices of predictors over a split."""

    vocabulary: Vocabulary
    frames: int
    matrices: dict[str, dict[str, Counts]]
    """Predictor -> group of points -> [C, C] counts."""
    kept: dict[int, dict[str, Labels]]
    """Frame index -> predictor -> its labels, for the frames to keep."""

    def __or__(self, other: Evaluation) -> Evaluation:
        """The predictors of both evaluations of the same frames."""
        assert (self.vocabulary, self.frames) == (other.vocabulary, other.frames)
        kept = {i: {**self.kept.get(i, {}), **other.kept.get(i, {})} for i in self.kept | other.kept}
        return Evaluation(self.vocabulary, self.frames, {**self.matrices, **other.matrices}, kept)

    def scores(self, name: str, group: str = "all", absent: Absent = "leave out") -> Scores:
        """Scores of one predictor on one group of points."""
        return scores(self.matrices[name][group], self.vocabulary, absent)


def score(
    shards: Shards,
    make: Make,
    keep: Sequence[int] = (),
    actors: int = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
    done: Callable[[int], None] = lambda frames: None,
) -> Evaluation:
    """Run the predictors over all frames with `actors` processes; DataError if the shards have no labels.

    done: called with the number of newly finished frames.
    """
    scorer = (make, len(shards.vocabulary.classes), frozenset(keep), gpus > 0)
    work: dict[str, Any]
    if gpus:
        work = {"fn": _Scorer, "fn_constructor_args": scorer, "num_gpus": gpus}
    else:
        work = {"fn": _score_in_pool, "fn_args": (uuid.uuid4().hex, scorer)}
    rows = shards.dataset().map_batches(
        **work, batch_size=1, batch_format="pyarrow", concurrency=actors, num_cpus=cpus
    )
    matrices: dict[str, dict[str, Counts]] = {}
    kept: dict[int, dict[str, Labels]] = {}
    with cluster.user_errors():
        for row in rows.iter_rows():
            groups = matrices.setdefault(row["name"], {})
            for group in GROUPS:
                counts = np.frombuffer(row[group], np.int64).reshape(-1, len(shards.vocabulary.classes))
                groups[group] = groups.get(group, 0) + counts
            if row["labels"] is not None:
                kept.setdefault(row["index"], {})[row["name"]] = np.frombuffer(row["labels"], np.uint8)
            done(int(row["last"]))
    return Evaluation(shards.vocabulary, len(shards), matrices, kept)


class _Scorer:
    """Rows of frames -> one row of counts per frame and predictor."""

    def __init__(self, make: Make, classes: int, keep: frozenset[int], gpu: bool) -> None:
        self.predictors = make(torch.device("cuda" if gpu else "cpu"))
        self.classes, self.keep = classes, keep

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        rows = [result for row in table.to_pylist() for result in self._score(row)]
        return pa.Table.from_pylist(rows, schema=_result_schema())

    def _score(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        frame = Frame.from_row(row)
        if frame.labels is None:
            raise DataError(f"frame {frame.token} has no labels, so nothing can be scored on it")
        truth, seen = frame.labels[frame.keyframe], frame.seen[frame.keyframe]
        parts = {"all": np.ones_like(seen), "seen": seen, "unseen": ~seen}
        results: list[dict[str, Any]] = []
        for name, predictor in self.predictors.items():
            labels = predictor.predict(frame)
            counts = {
                group: confusion(truth[part], labels[part], self.classes) for group, part in parts.items()
            }
            results.append(
                {
                    "index": row["index"],
                    "name": name,
                    "labels": labels.tobytes() if row["index"] in self.keep else None,
                    "last": len(results) == len(self.predictors) - 1,
                    **{group: matrix.tobytes() for group, matrix in counts.items()},
                }
            )
        return results


_in_this_process: dict[str, _Scorer] = {}
"""The scorer of the latest call of `score` in this process."""


def _score_in_pool(table: Any, call: str, arguments: tuple[Any, ...]) -> Any:
    if call not in _in_this_process:
        _in_this_process.clear()
        _in_this_process[call] = _Scorer(*arguments)
    return _in_this_process[call](table)


def _result_schema() -> Any:
    import pyarrow as pa

    columns = [("index", pa.int64()), ("name", pa.string()), ("labels", pa.binary()), ("last", pa.bool_())]
    return pa.schema([*columns, *((group, pa.binary()) for group in GROUPS)])
