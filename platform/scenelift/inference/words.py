"""What points are compared with: the student's classes, or own words in the space of the teacher's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from scenelift.config.build import from_dict
from scenelift.errors import ConfigError, TeacherError
from scenelift.nn.student import Student
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.config import TeacherConfig

if TYPE_CHECKING:
    from scenelift.teachers.teacher import Teacher

Classes = Sequence[str] | Mapping[str, Sequence[str]]
"""Names, each prompted with itself, or name -> words, whose embeddings are averaged as those of a class are."""
Background = Literal["own"] | Sequence[str] | None
_ALIKE = 0.999
"""Least cosine of the text embeddings of two copies of a teacher: they differ by rounding."""
_MOST = 60_000
"""Classes that 16-bit ids can tell apart, with room."""


@dataclass(frozen=True)
class Asked:
    """The classes asked for, and what else a point may be."""

    classes: tuple[str, ...]
    """[C] names."""
    prototypes: Tensor | None
    """[C + B, D] text embeddings of the classes, then of the background; None: the student's own classes."""

    def logits(self, student: Student, backbone: Tensor) -> Tensor:
        """[V, C + B] for backbone features [V, K] of the student."""
        if self.prototypes is None:
            return student.class_logits(backbone)
        return student.class_logits(backbone, self.prototypes)


class TextTower:
    """Encodes words as the student's teacher does; the teacher is loaded at the first word."""

    def __init__(self, student: Student, weights: str | None) -> None:
        self.student, self.weights = student, weights

    @torch.no_grad()
    def __call__(self, groups: Sequence[Sequence[str]], templates: str | None = None) -> Tensor:
        """[W, D] unit rows: the mean embedding of each group of words, in the teacher's own templates or these."""
        words = tuple(tuple(group) for group in groups)
        gray = ((128, 128, 128),) * len(words)
        vocabulary = Vocabulary("asked", tuple(group[0] for group in words), words, gray)
        teacher = self._teacher
        with _one_thread() if templates == "plain" else nullcontext():
            return teacher.text_features(vocabulary, templates).to(self.student.text.device)

    @cached_property
    def _teacher(self) -> Teacher:
        from scenelift.teachers.clip import build_teacher  # takes seconds; only own words need it

        student = self.student
        if "classifier" in student.heads:
            raise ConfigError(
                "this student was trained on labels and knows its classes alone; own words want one that compares "
                "points with text, as python -m trainables.distill trains it"
            )
        if student.teacher is None:
            raise ConfigError(
                "this student does not say which teacher it learned from, as an earlier Scenelift wrote it; own "
                "words want one that python -m trainables.distill wrote since"
            )
        config = from_dict(TeacherConfig, student.teacher)
        if self.weights is not None:
            config = replace(config, weights=self.weights)
        teacher = build_teacher(config, student.vocabulary)
        if teacher.text.shape != student.text.shape or self._apart(teacher.text):
            raise TeacherError(
                f"{config.weights} are not the weights of the {config.model} that this student learned from; give "
                "those"
            )
        return teacher

    def _apart(self, text: Tensor) -> bool:
        cosine = torch.nn.functional.cosine_similarity(text, self.student.text.to(text.device))
        return bool(cosine.min() < _ALIKE)


@contextmanager
def _one_thread() -> Iterator[None]:
    """For a few words: matrices of four rows are multiplied in a third of the time without a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def asked(student: Student, tower: TextTower, classes: Classes | None, background: Background) -> Asked:
    """What points are compared with; None: the student's own classes. ConfigError for empty or double names."""
    own = student.vocabulary
    if classes is None:
        return Asked(own.classes, None)
    words = _words(classes)
    prototypes = [tower(list(words.values()))]
    if background == "own":
        used = {word.casefold() for name, group in words.items() for word in (name, *group)}
        others = [
            row
            for row, (name, group) in enumerate(zip(own.classes, own.words, strict=True))
            if used.isdisjoint(word.casefold() for word in (name, *group))
        ]
        prototypes.append(student.text[others])
    elif isinstance(background, str):
        raise ConfigError(f"background takes words as a list, ['{background}'], or 'own', or None")
    elif background:
        prototypes.append(tower([(word,) for word in background]))
    return Asked(tuple(words), torch.cat(prototypes))


def _words(classes: Classes) -> dict[str, tuple[str, ...]]:
    """Name -> its words."""
    if isinstance(classes, str):
        raise ConfigError(f"classes takes a list of words: classes=['{classes}']")
    pairs = list(classes.items()) if isinstance(classes, Mapping) else [(name, (name,)) for name in classes]
    words = {
        name: (group,) if isinstance(group, str) else tuple(group)
        for name, group in pairs
        if isinstance(name, str) and name.strip()
    }
    texts = [word for group in words.values() for word in group]
    if not pairs or len(words) != len(pairs) or not all(words.values()) or len(words) > _MOST:
        raise ConfigError("classes wants one or more words, each once, or {name: [words]}")
    if bad := [word for word in texts if not isinstance(word, str) or not word.strip()]:
        raise ConfigError(f"classes has {bad[0]!r} where a word belongs")
    return words
