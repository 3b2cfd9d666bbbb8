"""ScanRefer, Nr3D or Sr3D over a ScanNet tree, as a source of rooms."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.common.listing import note, shown
from datasets.common.release import release
from datasets.grounding.classes import CLASSES, TABLE, ClassMap
from datasets.grounding.config import PROTOCOLS, Candidates, Corpus, RoomOptions
from datasets.grounding.features import cloud_features, student_features
from datasets.grounding.instances import Scene, read_scene
from datasets.grounding.keywords import anchors, keyword_mask
from datasets.grounding.proposals import Proposals, read_detector, true_instances
from datasets.grounding.sentences import (
    READERS,
    Annotation,
    bad_contexts,
    distinct,
    in_scans,
    listener_filter,
    without,
)
from datasets.scannet.source import RoomScan, ScanNet
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.io.console import say
from scenelift.samples.config import ReadOptions
from scenelift.samples.room import ROOM, Room, Sentence

BAD_CONTEXTS = "manually_inspected_bad_contexts.csv"


@dataclass(frozen=True)
class RoomKey:
    """All or some of a room's sentences."""

    token: str
    scene: str
    annotations: tuple[Annotation, ...]
    unique: tuple[bool, ...]
    """Whether each annotation's object is unique in its class."""


class Grounding:
    """Sentences about the scenes of a ScanNet tree.

    Scenes: `ROOT/scans/SCENE` (see `instances`), proposals: see `proposals`. Sentences: `ROOT/ScanRefer_filtered_
    SPLIT.json`, `ROOT/nr3d.csv` or `ROOT/sr3d.csv`, or the given file. The scenes of a CSV's split are listed in
    `CORPUS_SPLIT_scans.txt`, `SPLIT_scans.txt` (ReferIt3D's) or `scannetv2_SPLIT.txt` in ROOT or ROOT/meta, where
    the label table is too. Small to pickle.
    """

    kind = ROOM
    classes = CLASSES

    def __init__(
        self,
        root: Path,
        corpus: Corpus = "scanrefer",
        candidates: Candidates = "detector",
        sentences: Path | None = None,
        student: Path | None = None,
        listener: bool = False,
        group: int = 8,
        version: str = "v1",
    ) -> None:
        """student: folder of a 3D student whose features replace the proposals' own; listener: keep only what
        ReferIt3D's listeners use (ws3dvg.md 18); group: sentences per sample, a room with more becomes several
        samples. DataError for a wrong root or table, ConfigError for ScanRefer with `listener`."""
        if listener and corpus == "scanrefer":
            raise ConfigError(
                "ReferIt3D's listeners use Nr3D's and Sr3D's sentences only; leave --listener out"
            )
        self.name: str = corpus
        self.root, self.version, self.candidates = root, release(root, version), candidates
        self.corpus, self.sentences, self.student, self.listener = corpus, sentences, student, listener
        self.group = group
        self.left_out: dict[str, int] = {}
        if not (root / "scans").is_dir():
            raise DataError(f"{root} has no folder scans; --root is the ScanNet folder that holds it")
        self.class_map = ClassMap.read(self._meta(TABLE) or root / TABLE)

    @property
    def protocol(self) -> str:
        """Label of all scores measured on these rooms."""
        listeners = ", listeners' sentences" if self.listener else ""
        return f"{self.corpus}, {PROTOCOLS[self.candidates]}{listeners}"

    @property
    def reading(self) -> dict[str, Any]:
        """What determines a room's sample, besides its files."""
        student = None if self.student is None else str(self.student.resolve())
        return {"protocol": self.protocol, "student": student, "group": self.group, "unique": "benchmark"}

    def list_samples(self, split: str | None) -> list[RoomKey]:
        """The rooms of a split (None: all of a CSV; ScanRefer has a file per split), by name.

        Raises DataError for an unknown split, or one without scenes in the tree.
        """
        self.left_out = {}
        annotations = self._annotations(split)
        by_scene: dict[str, list[Annotation]] = defaultdict(list)
        for annotation in annotations:
            by_scene[annotation.scene].append(annotation)
        here = [scene for scene in sorted(by_scene) if (self.root / "scans" / scene).is_dir()]
        if not here:
            raise DataError(f"none of the {len(by_scene)} scenes with sentences is in {self.root / 'scans'}")
        absent = sorted(by_scene.keys() - set(here))
        about = sum(len(by_scene[scene]) for scene in absent)
        line = f"{len(absent)} of {len(by_scene)} scenes are not in {self.root / 'scans'}: {shown(absent)}"
        note(self.left_out, "scenes with sentences that are not in scans", len(absent), line)
        note(self.left_out, "sentences about scenes that are not in scans", about)
        self._say_unknown(annotations)
        keys = [key for scene in here for key in self._parts(scene, by_scene[scene])]
        if not keys:
            raise DataError(f"no sentence of {split or self.corpus} has a word")
        return keys

    def read(self, keyframe: RoomKey, options: RoomOptions) -> Room:
        """Read one room with its proposals; FrameError for anything wrong with its files."""
        scene = read_scene(self.root, keyframe.scene, self.class_map)
        proposals = self._proposals(keyframe.scene, scene)
        shown = np.linspace(0, len(scene.points) - 1, min(options.points, len(scene.points))).astype(int)
        return Room(
            token=keyframe.token,
            scene=keyframe.scene,
            boxes=proposals.boxes,
            features=proposals.features,
            class_logits=proposals.class_logits,
            objectness=proposals.objectness,
            instances=proposals.instances,
            sentences=tuple(
                self._sentence(annotation, unique, scene)
                for annotation, unique in zip(keyframe.annotations, keyframe.unique, strict=True)
            ),
            points=scene.points[shown],
            colors=scene.colors[shown],
            objects=scene.boxes,
            names=scene.names,
            left_out=self._lost(keyframe, scene),
        )

    def _lost(self, keyframe: RoomKey, scene: Scene) -> dict[str, int]:
        """Counted once a scene, in the first of its samples."""
        first = keyframe.token.endswith("-000")
        return {"objects without a vertex": scene.lost} if first else {}

    def _meta(self, name: str) -> Path | None:
        """A file in ROOT or ROOT/meta."""
        places = (self.root / name, self.root / "meta" / name)
        return next((place for place in places if place.is_file()), None)

    def _annotations(self, split: str | None) -> list[Annotation]:
        return distinct(self._listed(split), self.left_out)

    def _listed(self, split: str | None) -> list[Annotation]:
        if self.corpus == "scanrefer":
            if split is None and self.sentences is None:
                raise DataError("ScanRefer has a file for each split: name one, --split train or val")
            return self._read(self.root / f"ScanRefer_filtered_{split}.json")
        found = self._read(self.root / f"{self.corpus}.csv")
        bad = self._meta(BAD_CONTEXTS)
        if bad is None:
            say(f"no {BAD_CONTEXTS} in {self.root}: no sentences are left out for their context")
        else:
            found = without(found, bad_contexts(bad), self.left_out)
        if split is not None:
            scans, listed = self._scans(split), found
            found = in_scans(listed, scans, self.left_out)
            if not found:
                raise DataError(f"none of the {len(listed)} sentences is about a scene of {scans}")
        return listener_filter(found, split not in (None, "train"), self.left_out) if self.listener else found

    def _read(self, usual: Path) -> list[Annotation]:
        """The sentences of the given file, or of the usual one."""
        path = self.sentences or usual
        if found := READERS[self.corpus](path):
            return found
        raise DataError(f"{path} has no sentences")

    def _scans(self, split: str) -> Path:
        """The list of a split's scenes: the corpus's own, ReferIt3D's, or ScanNet's."""
        names = (f"{self.corpus}_{split}_scans.txt", f"{split}_scans.txt", f"scannetv2_{split}.txt")
        found = next((path for name in names if (path := self._meta(name))), None)
        if found is None:
            raise DataError(f"unknown split {split}: none of {', '.join(names)} in {self.root}")
        return found

    def _say_unknown(self, annotations: Sequence[Annotation]) -> None:
        known = self.class_map.number
        unknown = Counter(
            one.name for one in annotations if known.keys().isdisjoint([one.name, *one.name.split()])
        )
        if unknown:
            some = ", ".join(name for name, _ in unknown.most_common(3))
            say(f"{unknown.total()} sentences are about things that {TABLE} does not list ({some}): others")

    def _parts(self, scene: str, annotations: list[Annotation]) -> list[RoomKey]:
        """A room's sentences, shuffled and split into groups."""
        objects = {one.object: self.class_map.for_unique(one.name) for one in annotations}
        alike = Counter(objects.values())
        order = np.random.default_rng(list(scene.encode())).permutation(len(annotations))
        mixed = [annotations[i] for i in order if annotations[i].tokens]
        note(self.left_out, "sentences without a word", len(annotations) - len(mixed))
        return [
            RoomKey(
                f"{scene}-{start // self.group:03d}",
                scene,
                tuple(part := mixed[start : start + self.group]),
                tuple(alike[objects[one.object]] == 1 for one in part),
            )
            for start in range(0, len(mixed), self.group)
        ]

    def _proposals(self, name: str, scene: Scene) -> Proposals:
        if self.candidates == "detector":
            found = read_detector(self.root, name, scene)
        else:
            categories = [self.class_map.category(label) for label in scene.names]
            try:
                found = true_instances(scene, np.array(categories, np.int64))
            except FrameError as error:
                raise FrameError(f"scans/{name}: {error}") from None
        if self.student is not None:
            mesh = f"scans/{name}/{name}_vh_clean_2.ply"
            frame = ScanNet(self.root).read(RoomScan(name, mesh, None, None), ReadOptions())
            features, logits = student_features(self.student, frame, scene, found)
            own = logits if self.candidates == "instances" else found.class_logits
            return dataclasses.replace(found, features=features, class_logits=own)
        if not found.features.shape[1]:
            return dataclasses.replace(found, features=cloud_features(scene, found))
        return found

    def _sentence(self, one: Annotation, unique: bool, scene: Scene) -> Sentence:
        rows = np.flatnonzero(scene.numbers == one.object)
        noun, head = self.class_map.noun(one.tokens, anchors(one.tokens))
        return Sentence(
            name=f"{one.object}-{one.number}",
            text=one.text,
            tokens=one.tokens,
            keywords=keyword_mask(one.tokens, adjectives=self.corpus == "scanrefer"),
            category=self.class_map.annotated(one.name),
            noun=noun,
            head=head,
            target=one.object,
            box=scene.boxes[rows[0]] if len(rows) else np.full(6, np.nan, np.float32),
            unique=unique,
            hard=one.hard,
            view_dependent=one.view_dependent,
        )
