"""The annotations of ScanRefer, Nr3D and Sr3D: which sentence is about which object of which ScanNet scene.

Formats: ws3dvg.md 2.1 to 2.5. All three become `Annotation`; what is dropped is counted and said.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets.grounding.keywords import tokenize
from scenelift.errors import DataError
from scenelift.io.console import say

Corpus = Literal["scanrefer", "nr3d", "sr3d"]
VIEW_WORDS = frozenset(
    ("front", "behind", "back", "right", "left", "facing", "leftmost", "rightmost", "looking", "across")
)
"""A sentence with one of these is view-dependent (ws3dvg.md 10.3)."""
EASY = 2
"""Objects of the target's class in a scene, itself included, at which a sentence is still easy."""
CLOTHES = ("clothes", "clothing")
MOST_TOKENS = 24


@dataclass(frozen=True)
class Annotation:
    """One sentence about one object."""

    scene: str
    object: int
    """ScanNet's objectId."""
    name: str
    """The object's category in words."""
    number: str
    """Tells the sentence from others about the object: ann_id, assignment, or row."""
    text: str
    tokens: tuple[str, ...]
    """Lower case; as the data set splits it."""
    alike: int | None = None
    """Objects of the target's class in the scene, itself included; None: ScanRefer does not say."""
    stimulus: str = ""
    """Id of the context in Nr3D and Sr3D."""
    mentions_class: bool = True
    """Whether the sentence names the object's class."""

    @property
    def view_dependent(self) -> bool:
        """Whether the sentence needs a point of view."""
        return not VIEW_WORDS.isdisjoint(self.tokens)

    @property
    def hard(self) -> bool | None:
        """Whether more than two objects are of the class; None of ScanRefer, which does not say."""
        return None if self.alike is None else self.alike > EASY


@dataclass(frozen=True)
class Stimulus:
    """What a stimulus id says: scene-instance_label-objects-target-distractor-distractor-... (2.4)."""

    scene: str
    label: str
    """With spaces."""
    objects: int
    """Of that label in the scene, the target included."""
    target: int
    distractors: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Stimulus:
        """DataError for anything that is not of this grammar."""
        try:
            scene, label, objects, target, *others = text.split("-", 4)
            distractors = tuple(int(number) for number in others[0].split("-")) if others else ()
            stimulus = cls(scene, label.replace("_", " "), int(objects), int(target), distractors)
        except ValueError:
            raise DataError(
                f"{text!r} is no stimulus id: scene-label-objects-target-distractor-distractor-..."
            ) from None
        if stimulus.objects != 1 + len(distractors):
            raise DataError(
                f"stimulus {text!r} counts {stimulus.objects} objects but lists {1 + len(distractors)}"
            )
        return stimulus


def read_scanrefer(path: Path) -> list[Annotation]:
    """The sentences of a ScanRefer file (2.1); DataError for a file that is none."""
    try:
        rows = json.loads(path.read_text())
        return [
            Annotation(
                scene=row["scene_id"],
                object=int(row["object_id"]),
                name=row["object_name"].replace("_", " "),
                number=row["ann_id"],
                text=row["description"],
                tokens=_tokens(row.get("token"), row["description"]),
            )
            for row in rows
        ]
    except FileNotFoundError:
        raise DataError(f"no {path}; ScanRefer's JSON is given to who asks its authors") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no ScanRefer file, a JSON list with scene_id, object_id, object_name, ann_id, "
            f"description: {type(error).__name__} {error}"
        ) from None


def read_nr3d(path: Path) -> list[Annotation]:
    """The sentences of Nr3D's CSV (2.2); DataError for a file that is none or a row that contradicts itself."""
    return _read_csv(path, "Nr3D", lambda row, index: row.get("assignmentid") or str(index))


def read_sr3d(path: Path) -> list[Annotation]:
    """The sentences of Sr3D's CSV (2.3); errors as for Nr3D. Numbers are those of the rows."""
    return _read_csv(path, "Sr3D", lambda row, index: str(index))


READERS: dict[Corpus, Callable[[Path], list[Annotation]]] = {
    "scanrefer": read_scanrefer,
    "nr3d": read_nr3d,
    "sr3d": read_sr3d,
}


def _read_csv(path: Path, corpus: str, number: Callable[[dict[str, str], int], str]) -> list[Annotation]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"no {path}; download {corpus} from ReferIt3D's page and name its CSV") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV: {error}") from None
    annotations = []
    for index, row in enumerate(rows):
        try:
            annotations.append(_annotation(row, number(row, index)))
        except (KeyError, ValueError, TypeError, SyntaxError, AttributeError) as error:
            raise DataError(
                f"row {index + 1} of {path} is not {corpus}'s: {type(error).__name__} {error}"
            ) from None
        except DataError as error:
            raise DataError(f"row {index + 1} of {path}: {error}") from None
    return annotations


def _annotation(row: dict[str, str], number: str) -> Annotation:
    stimulus = Stimulus.parse(row["stimulus_id"])
    name, target = row["instance_type"].replace("_", " "), int(row["target_id"])
    if (stimulus.scene, stimulus.target) != (row["scan_id"], target):
        raise DataError(f"stimulus {row['stimulus_id']} is not object {target} of {row['scan_id']}")
    tokens = ast.literal_eval(row["tokens"]) if row.get("tokens") else None
    return Annotation(
        scene=row["scan_id"],
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
    """The data set's tokens in lower case, or ours where it has none."""
    if tokens is None:
        return tuple(tokenize(text))
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise TypeError("token is not a list of words")
    return tuple(token.lower() for token in tokens if token)


def bad_contexts(path: Path) -> frozenset[str]:
    """Stimulus ids that people found wrong; DataError if the file has none."""
    try:
        header, *names = path.read_text().split()
    except (OSError, ValueError):
        raise DataError(f"{path} is no list of stimulus ids") from None
    if header != "stimulus_id":
        raise DataError(f"{path} begins with {header!r}, not with the column stimulus_id")
    for name in names:
        Stimulus.parse(name)
    return frozenset(names)


def without(annotations: Sequence[Annotation], bad: frozenset[str]) -> list[Annotation]:
    """The annotations but those of bad contexts, in their order; says how many were left out."""
    kept = [annotation for annotation in annotations if annotation.stimulus not in bad]
    if len(kept) < len(annotations):
        say(f"{len(annotations) - len(kept)} sentences of bad contexts are left out")
    return kept


def in_scans(annotations: Sequence[Annotation], path: Path) -> list[Annotation]:
    """The annotations about the scenes of a list; says how many are about other scans of the same rooms.

    Nr3D is about the first scan of a room alone, and so are its lists; most of Sr3D's sentences are not.
    """
    wanted = read_scans(path)
    kept = [annotation for annotation in annotations if annotation.scene in wanted]
    rooms = {_room(scene) for scene in wanted}
    others = sum(_room(annotation.scene) in rooms for annotation in annotations) - len(kept)
    if others:
        say(
            f"{others} sentences are left out: they are about scans of the same rooms that {path.name} does not "
            "list; ScanNet's own list has them: copy it to CORPUS_SPLIT_scans.txt"
        )
    return kept


def _room(scene: str) -> str:
    return scene.partition("_")[0]


def listener_filter(annotations: Sequence[Annotation], test: bool) -> list[Annotation]:
    """ReferIt3D's own choice of sentences (ws3dvg.md 18), which WS-3DVG does not make.

    Without clothes; at most 24 tokens; the class is mentioned; in a test split, another object is of the class.
    """
    return [
        annotation
        for annotation in annotations
        if annotation.name not in CLOTHES
        and len(annotation.tokens) <= MOST_TOKENS
        and annotation.mentions_class
        and not (test and annotation.alike == 1)
    ]


def read_scans(path: Path) -> frozenset[str]:
    """The scenes of a list: JSON, as ReferIt3D's, or a name a line, as ScanNet's."""
    try:
        text = path.read_text()
        names = json.loads(text) if text.lstrip().startswith("[") else text.split()
    except (OSError, ValueError):
        raise DataError(f"{path} is no list of scenes") from None
    return frozenset(names)
