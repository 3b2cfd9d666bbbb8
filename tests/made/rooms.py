"""Rooms made up from their names alone, for tests of everything behind the readers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenelift.samples.room import ROOM, UNNAMED, Room, Sentence

CLASSES = ("chair", "table", "others")
COLORS = ("red", "blue", "green")
FEATURES = 5


def made_up_room(token: str, objects: int = 5, sentences: int = 3, instances: bool = False) -> Room:
    """A room of chairs and tables whose features hold class and color; sentences name color and class."""
    rng = np.random.default_rng(zlib.crc32(token.encode()))
    kind, color = rng.integers(0, 2, objects), rng.permutation(objects) % len(COLORS)
    boxes = np.concatenate([np.arange(objects)[:, None] * [2, 0, 0], np.ones((objects, 3))], 1)
    boxes = boxes.astype(np.float32)
    features = np.concatenate([np.eye(2)[kind], np.eye(3)[color]], 1).astype(np.float32)
    logits = np.concatenate([4 * np.eye(2)[kind], np.zeros((objects, 1))], 1).astype(np.float32)
    said = []
    for number in range(sentences):
        i = int(rng.integers(objects))
        tokens = ("the", COLORS[color[i]], CLASSES[kind[i]], ".")
        said.append(
            Sentence(
                name=str(number),
                text=" ".join(tokens),
                tokens=tokens,
                keywords=np.array([False, True, False, False]),
                category=int(kind[i]),
                noun=int(kind[i]),
                head=2,
                target=i,
                box=boxes[i],
                unique=bool((kind == kind[i]).sum() == 1),
                hard=bool((kind == kind[i]).sum() > 2),
                view_dependent=number % 2 == 0,
            )
        )
    return Room(
        token=token,
        scene=token,
        boxes=boxes,
        features=features,
        class_logits=logits,
        objectness=np.ones(objects, bool),
        instances=np.arange(objects, dtype=np.int32) if instances else np.full(objects, UNNAMED, np.int32),
        sentences=tuple(said),
        points=boxes[:, :3],
        colors=np.full((objects, 3), 200, np.uint8),
        objects=boxes,
        names=tuple(CLASSES[k] for k in kind),
    )


@dataclass(frozen=True)
class RoomName:
    token: str


@dataclass
class MadeUpRooms:
    """A source of them."""

    rooms: int = 12
    name: str = "made-up-rooms"
    version: str = "v0"
    protocol: str = "made up, detected boxes"
    classes: tuple[str, ...] = CLASSES
    kind: Any = ROOM
    reading: str = "made up"

    def list_samples(self, split: str | None) -> list[RoomName]:
        return [RoomName(f"room-{number}") for number in range(self.rooms)]

    def read(self, keyframe: RoomName, options: Any) -> Room:
        return made_up_room(keyframe.token)
