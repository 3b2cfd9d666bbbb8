"""A trained student, ready to name the points of clouds: `scenelift.load`."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from scenelift.errors import ConfigError, DataError
from scenelift.inference.places import fetched_student
from scenelift.inference.tiles import MARGIN_VOXELS, MOST_POINTS, tiles
from scenelift.inference.words import Asked, Background, Classes, TextTower, asked
from scenelift.io.storage import Location
from scenelift.nn.student import Student
from scenelift.samples.frame import Frame
from scenelift.samples.plausible import FARTHEST

if TYPE_CHECKING:
    from scenelift.samples.vocabulary import Vocabulary

Cloud = ArrayLike | torch.Tensor
Extra = Literal["features", "scores"]
NOTHING = 0
"""Id of a point of which nothing is said."""


@dataclass(frozen=True)
class Labels:
    """What a student says of the N points of a cloud, in their order. C classes; D channels of the text space."""

    ids: NDArray[np.uint16]
    """[N] c for classes[c - 1]; 0 where nothing is said: a background prompt fits better, the confidence is below
    the threshold, or the point is not finite."""
    classes: tuple[str, ...]
    """[C] names."""
    confidence: NDArray[np.float32]
    """[N] 0..1, the share that the best name (of classes and background) has in a softmax over all of them, at the
    temperature at which the student was trained: how likely the teacher would name a pixel there so. 0 for a point
    that is not finite. docs/predict.md has how often such a label is right on the synthetic world."""
    scores: NDArray[np.float32] | None = None
    """[N, C] that share for every class, with `extras=["scores"]`."""
    features: NDArray[np.float32] | None = None
    """[N, D] the student's features in the space of the text, not normalized, with `extras=["features"]`; of a
    student that was trained on labels those of its backbone."""

    @property
    def names(self) -> NDArray[np.str_]:
        """[N] the class of each point, empty where nothing is said."""
        return np.array(("", *self.classes))[self.ids]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Question:
    """What is asked of clouds."""

    asking: Asked
    """What points are compared with."""
    threshold: float = 0.0
    """Below this confidence nothing is said."""
    extras: tuple[Extra, ...] = ()
    """What else `Labels` shall have."""


def load(
    place: Location, device: str | torch.device | None = None, teacher: Location | None = None
) -> Labeler:
    """A trained student that labels point clouds.

    place: a student's folder (runs/NAME/student, runs/NAME/checkpoints/step-N), a run's folder, the same in a
    bucket, or an MLflow address (models:/NAME@champion). device: where it computes; None: the GPU if there is one.
    teacher: the weights (a file, or a tag of open_clip) of the model whose text it learned, if they lie elsewhere
    than in its training; only own words need them. SceneliftError for anything else.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"there is no GPU for device {chosen}; write device='cpu', or leave it out")
    with fetched_student(place) as folder:
        student = Student.load(folder)
    if not {"semantic", "classifier"} & set(student.heads):
        raise ConfigError(
            f"{place} names no classes yet; fine-tune it first: python -m trainables.finetune --start {place}"
        )
    return Labeler(student.to(chosen), None if teacher is None else str(teacher))


class Labeler:
    """A trained student at work. Clouds are in metres, z up, with the features that the student was trained on."""

    def __init__(self, student: Student, teacher: str | None = None) -> None:
        """student: in evaluation mode, on its device; teacher: weights of its text tower, if not as in training."""
        self.student = student.eval()
        self._tower = TextTower(student, teacher)
        self._own = asked(student, self._tower, None, None)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that it was trained for, with words and colors."""
        return self.student.vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.vocabulary.classes

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.student.text.device

    @property
    def speaks(self) -> bool:
        """Whether it compares points with text, so that it can be asked for own words."""
        return "classifier" not in self.student.heads

    def text(self, words: Sequence[str], templates: str | None = None) -> torch.Tensor:
        """[W, D] unit rows, on its device: what words are in the space of the text. templates: of
        `scenelift.samples.vocabulary.prompt_templates`; None: the teacher's own. TeacherError where the teacher
        that it learned from is not on this machine, or does not know a word."""
        return self._tower([(word,) for word in words], templates)

    @overload
    def predict(
        self,
        points: Cloud,
        features: Cloud | None = None,
        *,
        classes: Classes | None = None,
        background: Background = "own",
        threshold: float = 0.0,
        extras: Collection[Extra] = (),
    ) -> Labels: ...

    @overload
    def predict(
        self,
        points: list[Cloud] | tuple[Cloud, ...],
        features: Sequence[Cloud] | None = None,
        *,
        classes: Classes | None = None,
        background: Background = "own",
        threshold: float = 0.0,
        extras: Collection[Extra] = (),
    ) -> list[Labels]: ...

    def predict(self, points: Any, features: Any = None, **how: Any) -> Any:
        """Labels for one cloud, or a list of them for a list of clouds.

        points: [N, 3] metres, or [N, 3 + F] with the features as further columns; arrays or torch tensors of any
        number type, on any device; far coordinates (a map's) want float64. features: [N, F], scaled as where the
        student was trained. classes: own words, as ["car", "bollard"], or with synonyms as {"car": ["car", "van"]};
        None: those that it was trained for. background: what else a point may be, besides own words: "own", the
        student's other classes; words of yours; None: nothing else. threshold: below this confidence nothing is
        said. extras: "features", "scores".

        DataError for clouds that do not fit, TeacherError for words that the teacher does not know. Points that are
        not finite get no label, and a warning.
        """
        several = isinstance(points, list | tuple) and len(points) > 0 and _is_cloud(points[0])
        question = self.question(**how)
        if not several:
            return self.label_cloud("the cloud", *self.columns(points, features), question)
        if features is not None and len(features) != len(points):
            raise DataError(f"there are {len(points)} clouds, and features of {len(features)}")
        parts = [None] * len(points) if features is None else features
        return [
            self.label_cloud(f"cloud {i}", *self.columns(cloud, part, f"cloud {i}"), question)
            for i, (cloud, part) in enumerate(zip(points, parts, strict=True))
        ]

    def question(
        self,
        classes: Classes | None = None,
        background: Background = "own",
        threshold: float = 0.0,
        extras: Collection[Extra] = (),
    ) -> Question:
        """What is asked of clouds, prepared once for many; arguments as in `predict`."""
        asking = self._own if classes is None else asked(self.student, self._tower, classes, background)
        if unknown := set(extras) - set(get_args(Extra)):
            raise ConfigError(f"extras: {min(unknown)} is not one of {', '.join(get_args(Extra))}")
        return Question(asking, float(threshold), tuple(extras))

    def label_frame(self, frame: Frame, question: Question | None = None) -> Labels:
        """Labels of the points of a frame's keyframe; question: None: for the student's classes."""
        question = question or Question(self._own)
        return self._read(self._say(frame, question), question)

    def columns(
        self, points: Any, features: Any = None, name: str = "the cloud"
    ) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        """([N, 3] float32 or float64, [N, F] float32) of what `predict` takes; DataError if it does not fit."""
        cloud, wanted = _array(points, f"{name}'s points"), self.student.point_features
        width = cloud.shape[1] if cloud.ndim == 2 else 0
        if cloud.size == 0 and width < 3:
            cloud, width = np.zeros((0, 3 + wanted * (features is None)), np.float32), 3 + wanted
        if cloud.ndim != 2 or width < 3:
            raise DataError(
                f"{name} has the shape {list(cloud.shape)}; give [N, 3] metres: x, y, z of each point"
            )
        own = cloud[:, 3:] if features is None else _array(features, f"{name}'s features")
        own = own[:, None] if own.ndim == 1 else own
        if own.ndim != 2 or own.shape[1] != wanted or len(own) != len(cloud):
            raise DataError(f"{name} has {self._unfit(own, len(cloud))}")
        finite = np.isfinite(cloud[:, :3]).all(1)
        if not np.isfinite(own[finite]).all():
            raise DataError(f"{name} has features that are not finite; give numbers, such as 0, there")
        kind = np.float64 if cloud.dtype == np.float64 else np.float32
        return cloud[:, :3].astype(kind, copy=False), own.astype(np.float32, copy=False)

    def _unfit(self, own: NDArray[Any], count: int) -> str:
        config, wanted = self.student.config.voxels, self.student.point_features
        reach = (float(self.student.reach) - config.feature_offset) / config.feature_scale
        known = f" (up to {reach:.3g} in its training)" if reach > 0 else ""
        found = f"{own.shape[1] if own.ndim == 2 else own.ndim} features a point"
        if own.ndim == 2 and own.shape[1] == wanted:
            found = f"{count} points and features of {len(own)}"
        columns = f"give [N, {wanted}] as features, or points [N, {3 + wanted}]"
        advice = "" if own.ndim == 2 and own.shape[1] else "; zeros will do where there is none, less well"
        return f"{found}, and the student wants {wanted}{known}: {columns}{advice}"

    def label_cloud(
        self,
        name: str,
        points: NDArray[np.floating],
        features: NDArray[np.float32],
        question: Question | None = None,
    ) -> Labels:
        """`predict` for what `columns` and `question` gave; name: what messages begin with."""
        question = question or Question(self._own)
        finite = np.isfinite(points).all(1)
        if not finite.all():
            lost = f"{int((~finite).sum()):,} of {len(points):,} points"
            warnings.warn(f"{name}: {lost} are not finite and get no label", stacklevel=3)
        kept = np.flatnonzero(finite)
        near = self._near(points[kept], name)
        said = _Said.empty(len(points), question, self.channels)
        margin = MARGIN_VOXELS * self.student.config.voxels.size
        for inner, whole in tiles(near, MOST_POINTS, margin):
            frame = Frame.of_cloud(name, near[whole], features[kept[whole]])
            said.put(kept[whole[inner]], self._say(frame, question), inner)
        return self._read(said, question)

    def _near(self, points: NDArray[np.floating], name: str) -> NDArray[np.float32]:
        """Coordinates of a map are moved to the middle, by whole voxels, before they become float32."""
        if not len(points) or np.abs(points).max() <= FARTHEST:
            return points.astype(np.float32, copy=False)
        voxels = self.student.config.voxels
        if voxels.grid != "cartesian":
            raise DataError(
                f"{name} reaches {np.abs(points).max():.3g} m, and the student's grid lies around the sensor; give "
                "points in the sensor's frame, metres"
            )
        low, high = points.min(0), points.max(0)
        far = np.maximum(np.abs(low), np.abs(high)) > FARTHEST
        shift = np.where(far, np.round((low + high) / 2 / voxels.size) * voxels.size, 0.0)
        moved = points - shift
        if np.abs(moved).max() > FARTHEST:
            raise DataError(
                f"{name} is {(high - low).max():.3g} m across, more than {2 * FARTHEST:,.0f}; give metres, and cut "
                "off points that lie astray"
            )
        return moved.astype(np.float32)

    @property
    def channels(self) -> int:
        """D, the width of `Labels.features`."""
        return (
            self.student.text.shape[1]
            if "semantic" in self.student.heads
            else self.student.backbone.out_channels
        )

    @torch.inference_mode()
    def _say(self, frame: Frame, question: Question) -> _Said:
        asking, extras = question.asking, question.extras
        if not frame.keyframe.any():
            return _Said.empty(0, question, self.channels)
        backbone, voxel = self.student.look(frame)
        logits = asking.logits(self.student, backbone)
        best, shares = logits.argmax(1), (logits.float() / self.student.temperature).softmax(1)
        confidence = shares.gather(1, best[:, None])[:, 0]
        scores = shares[:, : len(asking.classes)][voxel] if "scores" in extras else None
        spoken = None
        if "features" in extras:
            speaks = "semantic" in self.student.heads
            spoken = (self.student.heads["semantic"](backbone.float()) if speaks else backbone.float())[voxel]
        return _Said(*(_numpy(each) for each in (best[voxel], confidence[voxel], scores, spoken)))

    def _read(self, said: _Said, question: Question) -> Labels:
        classes = question.asking.classes
        named = (said.best >= 0) & (said.best < len(classes)) & (said.confidence >= question.threshold)
        ids = np.where(named, said.best + 1, NOTHING).astype(np.uint16)
        return Labels(ids, classes, said.confidence, said.scores, said.features)


@dataclass
class _Said:
    """For each of N points the best of classes and background (-1: none), and what else is known of it."""

    best: NDArray[np.int64]
    confidence: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    features: NDArray[np.float32] | None

    @classmethod
    def empty(cls, count: int, question: Question, channels: int) -> _Said:
        asking, extras = question.asking, question.extras
        return cls(
            np.full(count, -1, np.int64),
            np.zeros(count, np.float32),
            np.zeros((count, len(asking.classes)), np.float32) if "scores" in extras else None,
            np.zeros((count, channels), np.float32) if "features" in extras else None,
        )

    def put(self, rows: NDArray[np.intp], other: _Said, chosen: NDArray[np.intp]) -> None:
        """Take over what another says of some of its points."""
        for name in ("best", "confidence", "scores", "features"):
            if (mine := getattr(self, name)) is not None:
                mine[rows] = getattr(other, name)[chosen]


def _is_cloud(part: Any) -> bool:
    if isinstance(part, np.ndarray | torch.Tensor):
        return part.ndim == 2
    return isinstance(part, list | tuple) and bool(part) and isinstance(part[0], list | tuple)


def _array(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().float() if values.dtype == torch.bfloat16 else values.detach()
        values = values.cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{name} are rows of different lengths; give an array [N, 3]") from None
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name} are of the type {array.dtype}; give an array of numbers")
    return array


def _numpy(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else tensor.cpu().numpy()
