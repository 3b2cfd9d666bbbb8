"""What students and a teacher say of a view, computed once for each view that is shown."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from scenelift.errors import DataError
from scenelift.geometry.segments import sample
from scenelift.inference.labeler import Extra, Labeler, Labels
from scenelift.samples.vocabulary import Vocabulary
from scenelift.viewer.scans.view import PlainCloud, View

if TYPE_CHECKING:
    from scenelift.teachers.teacher import Teacher

R = TypeVar("R")
KEPT = 4
"""Views whose answers are kept."""


@dataclass(frozen=True)
class Taught:
    """What a teacher says of the photos of a view. V photos; C classes; a grid of h x w patches."""

    scores: torch.Tensor
    """[V, C, h, w] cosine of every patch with every class."""
    labels: NDArray[np.uint8]
    """[N] 1..C of the points by the mean over the photos that show them, 0 where none does."""


class Answers:
    """The answers of students, by name, and of a teacher. Threads may ask at the same time; one is served at a
    time."""

    def __init__(
        self,
        students: Mapping[str, Labeler],
        teacher: Teacher | None = None,
    ) -> None:
        self.students, self.teacher = dict(students), teacher
        self._kept: OrderedDict[tuple[str, str], object] = OrderedDict()
        self._busy = threading.RLock()

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The classes that all of them know; None: nobody is asked."""
        first = next(iter(self.students.values()), None)
        return first.vocabulary if first else self.teacher.vocabulary if self.teacher else None

    def student(self, name: str, view: View) -> Labels:
        """Labels, confidence and (if it compares points with text) unit features of a student for the shown
        points."""
        return self._once(name, view, lambda: _labels(self.students[name], view))

    def taught(self, view: View) -> Taught | None:
        """None without a teacher or without photos."""
        if self.teacher is None or not view.cameras:
            return None
        teacher = self.teacher
        return self._once("teacher", view, lambda: _taught(teacher, view))

    def similarity(self, name: str, view: View, words: str) -> NDArray[np.float32]:
        """[N] cosine of the points with typed words; TeacherError for words that the teacher does not know."""
        labeler, labels = self.students[name], self.student(name, view)
        assert labels.features is not None, "a student that does not speak"
        with self._busy:
            text = labeler.text([words], _templates(labeler))[0].cpu().numpy()
        return labels.features @ text

    def _once(self, name: str, view: View, make: Callable[[], R]) -> R:
        key = (name, view.name)
        with self._busy:
            if key not in self._kept:
                self._kept[key] = make()
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT * (len(self.students) + 1):
                self._kept.popitem(last=False)
            return self._kept[key]  # type: ignore[return-value]


def _templates(labeler: Labeler) -> str | None:
    """The words alone for a large text tower: its own 85 prompts take seconds, and words are typed to be answered
    at once. The tiny one was trained with its four."""
    tiny = (labeler.student.teacher or {}).get("model") == "tiny"
    return None if tiny else "plain"


def _labels(labeler: Labeler, view: View) -> Labels:
    extras: tuple[Extra, ...] = ("features",) if labeler.speaks else ()
    question = labeler.question(extras=extras)
    if isinstance(view.source, PlainCloud):
        features = view.source.features(labeler.student.point_features)
        said = labeler.label_cloud(view.source.path, view.source.chunk.points, features, question)
    else:
        assert view.source is not None
        said = labeler.label_frame(view.source, question)
    if said.features is None:
        return said
    units = F.normalize(torch.from_numpy(said.features), dim=1).numpy()
    return replace(said, features=units)


@torch.inference_mode()
def _taught(teacher: Teacher, view: View) -> Taught:
    device = teacher.text.device
    photos = torch.from_numpy(view.photos).permute(0, 3, 1, 2).to(device)
    scores = teacher.scores(photos)
    points, pixels = view.pairs
    photo, row, column = torch.from_numpy(pixels.astype(np.int64)).to(device).unbind(1)
    of_pairs = sample(scores, photo, row, column, (photos.shape[-2], photos.shape[-1]))
    total = of_pairs.new_zeros(len(view.points), of_pairs.shape[1])
    total.index_add_(0, torch.from_numpy(points).to(device), of_pairs)
    labels = np.zeros(len(view.points), np.uint8)
    seen = np.unique(points)
    labels[seen] = (total.argmax(1) + 1).cpu().numpy()[seen]
    return Taught(scores, labels)


def pixel_scores(taught: Taught, pixel: tuple[int, int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """[C] cosine of one pixel (photo, row, column) of photos of `size` with every class."""
    photo, row, column = (torch.tensor([each], device=taught.scores.device) for each in pixel)
    return sample(taught.scores, photo, row, column, size)[0].cpu().numpy()


def require_alike(vocabularies: Mapping[str, Vocabulary]) -> None:
    """DataError for class lists that differ: colors and comparisons would mix them up."""
    (first, known), *others = vocabularies.items()
    for name, vocabulary in others:
        if vocabulary.classes != known.classes:
            raise DataError(
                f"{first} knows {', '.join(known.classes)}; {name} has {', '.join(vocabulary.classes)}. Show them "
                "one at a time, or fine-tune the student on those of the shards: python -m trainables.finetune"
            )
