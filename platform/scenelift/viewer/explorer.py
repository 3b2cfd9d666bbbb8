"""The content of the viewer, without a browser: which colorings there are, and what is known of a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.vocabulary import Vocabulary
from scenelift.viewer import colors
from scenelift.viewer.answers import Answers, pixel_scores, require_alike
from scenelift.viewer.colors import Coloring
from scenelift.viewer.photos import crop, overlaid
from scenelift.viewer.scans.places import Scans
from scenelift.viewer.scans.view import View

STUDENT, AGAINST, TEACHER, TRUTH = "student", "against", "teacher", "truth"
OF_STUDENTS = ("student", "error", "confidence", "words")
"""Colorings that differ between two students; the others are shown once."""
SHOWN_SCORES = 5
"""Classes whose scores are told of a pixel."""
DISTANCE = "distance"


@dataclass(frozen=True)
class Seen:
    """A photo that shows a point."""

    camera: str
    pixel: tuple[int, int]
    """(row, column)."""
    crop: NDArray[np.uint8]
    """[256, 256, 3] its surroundings."""
    scores: tuple[tuple[str, float], ...]
    """The teacher's best classes for the pixel, by cosine; none without a teacher."""


@dataclass(frozen=True)
class Point:
    """What is known of one point."""

    number: int
    position: tuple[float, float, float]
    """Metres."""
    features: tuple[float, ...]
    labels: dict[str, str]
    """Truth, teacher, students -> the class; "-" for none."""
    confidence: dict[str, float]
    """Student -> 0..1."""
    seen: tuple[Seen, ...]


class Explorer:
    """Scans, what students and a teacher say of them, and colorings of both."""

    def __init__(self, scans: Scans, answers: Answers) -> None:
        """DataError for a student and scans of different classes."""
        self.scans, self.answers = scans, answers
        known = {name: labeler.vocabulary for name, labeler in answers.students.items()}
        if scans.vocabulary is not None:
            known[scans.path] = scans.vocabulary
        if known:
            require_alike(known)
        self.view = lru_cache(maxsize=4)(scans.read)
        """Index -> the view."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The classes of the labels; None: there are none."""
        return self.scans.vocabulary or self.answers.vocabulary

    @property
    def students(self) -> Sequence[str]:
        """Names of the students, the first one first."""
        return tuple(self.answers.students)

    def colorings(self, view: View) -> list[str]:
        """Names of the colorings that are possible, the most telling first."""
        students, photos, truth = self.students, len(view.cameras) > 0, view.truth is not None
        taught = photos and self.answers.teacher is not None
        possible = {
            "student": bool(students),
            "truth": truth,
            "teacher": taught,
            "error": truth and (bool(students) or taught),
            "disagreement": len(students) + taught > 1,
            "confidence": bool(students),
            "words": any(labeler.speaks for labeler in self.answers.students.values()),
            "photo": photos,
            "own color": view.colors is not None,
            "intensity": view.features.shape[1] > 0,
            "height": True,
            DISTANCE: True,
        }
        return [name for name, there in possible.items() if there]

    def coloring(self, view: View, name: str, student: str = STUDENT, words: str = "") -> Coloring:
        """The colors of a view's points; student: whose, of `OF_STUDENTS`; words: for the coloring of that name."""
        if name in ("student", "teacher", "truth"):
            assert self.vocabulary is not None
            return colors.by_class(self.labels(view, student if name == "student" else name), self.vocabulary)
        if name == "error":
            return self._error(view, student)
        if name == "disagreement":
            return self._disagreement(view)
        if name == "confidence":
            confidence = self.answers.student(student, view).confidence
            note = f"mean {confidence.mean():.2f}" if len(confidence) else ""
            return _noted(colors.by_value(confidence, 0, 1), note)
        if name == "words":
            return self._words(view, student, words)
        if name == "photo":
            return _from_photos(view)
        if name == "own color":
            assert view.colors is not None
            return Coloring(view.colors, ())
        values, unit = _own_values(view, name)
        return colors.by_value(values, *colors.limits(values), unit)

    def labels(self, view: View, who: str) -> NDArray[np.integer]:
        """[N] 0..C of the truth, the teacher or a student; all 0 where there are none."""
        if who == TRUTH:
            return np.zeros(len(view.points), np.uint8) if view.truth is None else view.truth
        if who == TEACHER:
            taught = self.answers.taught(view)
            return np.zeros(len(view.points), np.uint8) if taught is None else taught.labels
        return self.answers.student(who, view).ids

    def compared(self, view: View) -> tuple[str, str] | None:
        """Who is compared for disagreement: two students, or a student and the teacher; None: there are no two."""
        if len(self.students) > 1:
            return STUDENT, AGAINST
        taught = self.answers.teacher is not None and len(view.cameras) > 0
        return (STUDENT, TEACHER) if self.students and taught else None

    def wrong(self, view: View, who: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[N] whether a point is judged, as it has a true label (and the teacher says something of it), and whether
        it is wrong."""
        truth, said = self.labels(view, TRUTH), self.labels(view, who)
        judged = truth > 0 if who != TEACHER else (truth > 0) & (said > 0)
        return judged, judged & (truth != said)

    def apart(self, view: View) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[N] whether both who are `compared` say something of a point, and whether they say different things."""
        pair = self.compared(view)
        if pair is None:
            none = np.zeros(len(view.points), bool)
            return none, none
        one, other = (self.labels(view, who) for who in pair)
        both = (one > 0) & (other > 0)
        return both, both & (one != other)

    def point(self, view: View, number: int) -> Point:
        """What is known of a point of a view."""
        names = ("-", *(self.vocabulary.classes if self.vocabulary else ()))
        who = [TRUTH] if view.truth is not None else []
        who += [TEACHER] if self.answers.taught(view) is not None else []
        who += self.students
        x, y, z = view.points[number].tolist()
        return Point(
            number=number,
            position=(x, y, z),
            features=tuple(view.features[number].tolist()),
            labels={each: names[int(self.labels(view, each)[number])] for each in who},
            confidence={
                each: float(self.answers.student(each, view).confidence[number]) for each in self.students
            },
            seen=tuple(self._seen(view, number)),
        )

    def _seen(self, view: View, number: int) -> list[Seen]:
        points, pixels = view.pairs
        taught = self.answers.taught(view)
        found = []
        for photo, row, column in pixels[points == number].astype(int).tolist():
            best: list[tuple[str, float]] = []
            if taught is not None and self.vocabulary is not None:
                scores = pixel_scores(taught, (photo, row, column), view.photos.shape[1:3])
                order = np.argsort(-scores, kind="stable")[:SHOWN_SCORES]
                best = [(self.vocabulary.classes[c], float(scores[c])) for c in order]
            part = crop(view.photos[photo], row, column)
            found.append(Seen(view.cameras[photo], (row, column), part, tuple(best)))
        return found

    def photo(self, view: View, camera: int, over: Coloring | None) -> NDArray[np.uint8]:
        """[H, W, 3] a photo, with the points that it shows drawn over it in the colors of a coloring, if one is
        given."""
        points, pixels = view.pairs
        mine = pixels[:, 0] == camera
        if over is None:
            return view.photos[camera]
        shown = points[mine]
        return overlaid(view.photos[camera], pixels[mine, 1:], over.colors[shown], view.ranges[shown])

    def _error(self, view: View, student: str) -> Coloring:
        judged, wrong = self.wrong(view, student if self.students else TEACHER)
        return colors.by_verdict(judged, wrong, "right", "wrong")

    def _disagreement(self, view: View) -> Coloring:
        both, apart = self.apart(view)
        names = " and ".join(self.compared(view) or ())
        return _noted(colors.by_verdict(both, apart, "the same", "different"), names)

    def _words(self, view: View, student: str, words: str) -> Coloring:
        labeler = self.answers.students[student]
        if not words.strip() or not labeler.speaks:
            why = (
                "type some words"
                if labeler.speaks
                else "this student was trained on labels: it knows no other words"
            )
            return Coloring(np.full((len(view.points), 3), colors.GREY, np.uint8), (), why)
        near = self.answers.similarity(student, view, words.strip())
        low, high = colors.limits(near, (0.5, 0.999))  # a word means the few points that stand out
        return _noted(colors.by_value(near, low, high, "", colors.GLOW), f"cosine with “{words.strip()}”")


def _noted(coloring: Coloring, note: str) -> Coloring:
    return Coloring(coloring.colors, coloring.legend, note)


def _from_photos(view: View) -> Coloring:
    """Each point as the photos show it, the last one on top."""
    found = np.full((len(view.points), 3), colors.GREY, np.uint8)
    points, pixels = view.pairs
    found[points] = view.photos[tuple(pixels.astype(np.int64).T)]
    seen = len(np.unique(points)) / max(1, len(found))
    return Coloring(found, ((f"in no photo {1 - seen:.1%}", colors.GREY),))


def _own_values(view: View, name: str) -> tuple[NDArray[np.floating], str]:
    if name == "intensity":
        return view.features[:, 0], ""
    return (view.points[:, 2], "m") if name == "height" else (view.ranges, "m")
