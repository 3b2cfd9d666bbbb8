"""The annotations of ScanRefer, Nr3D and Sr3D: sentences about objects of ScanNet scenes.

Formats: ws3dvg.md 2.1 to 2.5. All three become `Annotation`; dropped sentences are counted and reported.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.common.files import lines, read_json, read_text, words
from datasets.common.listing import note, once
from datasets.grounding.config import Corpus
from datasets.grounding.keywords import tokenize
from scenelift.errors import DataError

VIEW_WORDS = frozenset(
    ("front", "behind", "back", "right", "left", "facing", "leftmost", "rightmost", "looking", "across")
)
"""A sentence with one of these words is view-dependent (ws3dvg.md 10.3)."""
EASY = 2
"""Largest number of objects of the target's class, itself included, for an easy sentence."""
CLOTHES = ("clothes", "clothing")
MOST_TOKENS = 24
_SCENE = re.compile(r"\w[\w-]{0,99}")
_LONGEST = 100_000
"""Characters of a sentence's tokens."""
LeftOut = dict[str, int] | None
"""Reason -> number, added to; None: not counted."""
_COLUMNS = {"stimulus_id", "instance_type", "scan_id", "target_id", "utterance", "mentions_target_class"}


@dataclass(frozen=True)
class Annotation:
    """One sentence about one object."""

    scene: str
    object: int
    """ScanNet's objectId."""
    name: str
    """The object's category."""
    number: str
    """Distinguishes sentences about the same object: ann_id, assignment, or row."""
    text: str
    tokens: tuple[str, ...]
    """Lower case; as tokenized by the data set."""
    alike: int | None = None
    """Objects of the target's class in the scene, itself included; None: ScanRefer does not say."""
    stimulus: str = ""
    """Stimulus id in Nr3D and Sr3D."""
    mentions_class: bool = True
    """Whether the sentence names the object's class."""

    @property
    def view_dependent(self) -> bool:
        """Whether the sentence depends on a point of view."""
        return not VIEW_WORDS.isdisjoint(self.tokens)

    @property
    def hard(self) -> bool | None:
        """Whether more than two objects have the class; None for ScanRefer, which does not say."""
        return None if self.alike is None else self.alike > EASY


@dataclass(frozen=True)
class Stimulus:
    """A parsed stimulus id: scene-instance_label-objects-target-distractor-distractor-... (ws3dvg.md 2.4)."""

    scene: str
    label: str
    """With spaces."""
    objects: int
    """Number of objects with that label in the scene, including the target."""
    target: int
    distractors: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Stimulus:
        """DataError for anything that does not match this grammar."""
        try:
            scene, label, objects, target, *others = text.split("-", 4)
            distractors = tuple(int(number) for number in others[0].split("-")) if others else ()
            stimulus = cls(scene, label.replace("_", " "), int(objects), int(target), distractors)
        except ValueError:
            raise DataError(
                f"{text!r} is not a stimulus id: scene-label-objects-target-distractor-distractor-..."
            ) from None
        if stimulus.objects != 1 + len(distractors):
            raise DataError(
                f"stimulus {text!r} counts {stimulus.objects} objects but lists {1 + len(distractors)}"
            )
        return stimulus


def read_scanrefer(path: Path) -> list[Annotation]:
    """The sentences of a ScanRefer file (ws3dvg.md 2.1); DataError for any other file."""
    if not path.exists():
        raise DataError(f"no {path}; request ScanRefer's JSON from its authors")
    try:
        return [
            Annotation(
                scene=_scene(row["scene_id"]),
                object=int(row["object_id"]),
                name=row["object_name"].replace("_", " "),
                number=_text(row["ann_id"]),
                text=_text(row["description"]),
                tokens=_tokens(row.get("token"), row["description"]),
            )
            for row in read_json(path)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise DataError(
            f"{path} is not a ScanRefer file, a JSON list with scene_id, object_id, object_name, ann_id, "
            f"description: {type(error).__name__} {error}"
        ) from None


def read_nr3d(path: Path) -> list[Annotation]:
    """The sentences of Nr3D's CSV (ws3dvg.md 2.2); DataError for any other file or an inconsistent row."""
    return _read_csv(path, "Nr3D", lambda row, index: row.get("assignmentid") or str(index))


def read_sr3d(path: Path) -> list[Annotation]:
    """The sentences of Sr3D's CSV (ws3dvg.md 2.3), numbered by row; errors as for Nr3D."""
    return _read_csv(path, "Sr3D", lambda row, index: str(index))


READERS: dict[Corpus, Callable[[Path], list[Annotation]]] = {
    "scanrefer": read_scanrefer,
    "nr3d": read_nr3d,
    "sr3d": read_sr3d,
}


def _read_csv(path: Path, corpus: str, number: Callable[[dict[str, str], int], str]) -> list[Annotation]:
    if not path.exists():
        raise DataError(f"no {path}; download {corpus} from ReferIt3D's page and give its CSV by --sentences")
    rows = _rows(path)
    if rows and (lacking := _COLUMNS - rows[0].keys()):
        raise DataError(
            f"row 1 of {path} is not {corpus}'s: the file has no column {', '.join(sorted(lacking))}"
        )
    annotations = []
    for index, row in enumerate(rows):
        try:
            annotations.append(_annotation(row, number(row, index)))
        except (
            *(KeyError, ValueError, TypeError, SyntaxError, AttributeError),
            *(MemoryError, RecursionError),  # Python's own parser, of tokens nested too deep
        ) as error:
            deep = isinstance(error, MemoryError | RecursionError)
            reason = "tokens are nested too deep" if deep else f"{type(error).__name__} {error}"
            raise DataError(f"row {index + 1} of {path} is not {corpus}'s: {reason}") from None
        except DataError as error:
            raise DataError(f"row {index + 1} of {path}: {error}") from None
    return annotations


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, with commas, or with semicolons as spreadsheets of many countries write them."""
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    try:
        return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _scene(value: Any) -> str:
    """A scene's name, which is that of its folder."""
    if not _SCENE.fullmatch(_text(value)):
        raise ValueError(f"{value[:60]!r} is no scene's name, such as scene0000_00")
    return str(value)


def _annotation(row: dict[str, str], number: str) -> Annotation:
    stimulus = Stimulus.parse(row["stimulus_id"])
    name, target = row["instance_type"].replace("_", " "), int(row["target_id"])
    if (stimulus.scene, stimulus.target) != (row["scan_id"], target):
        raise DataError(f"stimulus {row['stimulus_id']} is not object {target} of {row['scan_id']}")
    if len(row.get("tokens") or "") > _LONGEST:
        raise ValueError(f"tokens of {len(row['tokens'])} characters are no list of a sentence's words")
    tokens = ast.literal_eval(row["tokens"]) if row.get("tokens") else None
    return Annotation(
        scene=_scene(row["scan_id"]),
        object=target,
        name=name,
        number=number,
        text=row["utterance"],
        tokens=_tokens(tokens, row["utterance"]),
        alike=stimulus.objects,
        stimulus=row["stimulus_id"],
        mentions_class=row["mentions_target_class"].strip().lower() == "true",
    )


def _tokens(tokens: Any, text: str) -> tuple[str, ...]:
    """The data set's tokens in lower case, or ours if it has none."""
    if tokens is None:
        return tuple(tokenize(text))
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise TypeError("token is not a list of words")
    return tuple(token.lower() for token in tokens if token)


def bad_contexts(path: Path) -> frozenset[str]:
    """Stimulus ids that annotators marked as wrong; DataError for any other file."""
    try:
        header, *names = (line.strip().rstrip(",") for line in lines(read_text(path)))
    except (ValueError, DataError):
        raise DataError(f"{path} is not a list of stimulus ids") from None
    if header != "stimulus_id":
        raise DataError(f"{path} begins with {header!r}, not with the column stimulus_id")
    for name in names:
        try:
            Stimulus.parse(name)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
    return frozenset(names)


def distinct(annotations: Sequence[Annotation], left_out: LeftOut = None) -> list[Annotation]:
    """The annotations without those that repeat another word for word, in order, each with a number of its own."""
    unique = once(annotations, "sentences, the same in all", left_out)
    times: Counter[tuple[str, int, str]] = Counter()
    numbered = []
    for one in unique:
        key = (one.scene, one.object, one.number)
        again = times[key]
        times[key] += 1
        numbered.append(replace(one, number=f"{one.number}-{again + 1}") if again else one)
    return numbered


def without(
    annotations: Sequence[Annotation], bad: frozenset[str], left_out: LeftOut = None
) -> list[Annotation]:
    """The annotations except those of bad contexts, in order; the others are counted."""
    kept = [annotation for annotation in annotations if annotation.stimulus not in bad]
    note(left_out, "sentences of bad contexts", len(annotations) - len(kept))
    return kept


def in_scans(annotations: Sequence[Annotation], path: Path, left_out: LeftOut = None) -> list[Annotation]:
    """The annotations about the scenes of a list; counts those that are about other scans of the same rooms.

    Nr3D and its lists cover only the first scan of each room; most of Sr3D's sentences are about others.
    """
    wanted = read_scans(path)
    kept = [annotation for annotation in annotations if annotation.scene in wanted]
    rooms = {_room(scene) for scene in wanted}
    others = sum(_room(annotation.scene) in rooms for annotation in annotations) - len(kept)
    about = f"about scans of the same rooms that {path.name} does not list"
    advice = "ScanNet's own list has them: copy that to CORPUS_SPLIT_scans.txt"
    line = f"{others} sentences are left out: they are {about}; {advice}"
    note(left_out, f"sentences {about}", others, line)
    return kept


def _room(scene: str) -> str:
    return scene.partition("_")[0]


def listener_filter(
    annotations: Sequence[Annotation], test: bool, left_out: LeftOut = None
) -> list[Annotation]:
    """ReferIt3D's own choice of sentences (ws3dvg.md 18), which WS-3DVG does not make.

    No clothes; at most 24 tokens; the class is mentioned; in a test split, another object has the class too.
    """
    kept = [
        annotation
        for annotation in annotations
        if annotation.name not in CLOTHES
        and len(annotation.tokens) <= MOST_TOKENS
        and annotation.mentions_class
        and not (test and annotation.alike == 1)
    ]
    note(left_out, "sentences that ReferIt3D's listeners do not use", len(annotations) - len(kept))
    return kept


def read_scans(path: Path) -> frozenset[str]:
    """The scenes of a list: JSON, as in ReferIt3D, or one name per line, as in ScanNet."""
    try:
        text = read_text(path)
        names = read_json(path) if text.lstrip().startswith("[") else words(text)
        if not all(isinstance(name, str) for name in names):
            raise ValueError
    except (ValueError, TypeError, DataError):
        raise DataError(f"{path} is not a list of scenes") from None
    return frozenset(names)
