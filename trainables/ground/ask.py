"""A trained grounder asked about any sentence, as the viewer does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.grounding.keywords import tokenize
from scenelift.errors import DataError
from scenelift.io.storage import Location
from scenelift.samples.room import UNNAMED, Room, Sentence
from trainables.ground.batch import CollateRooms
from trainables.ground.method import Reading, coarse
from trainables.ground.model import Grounder


@dataclass(frozen=True)
class RoomGrounder:
    """Scores the proposals of a room for a sentence: the student, or the coarse stage of a model without one."""

    student: Grounder
    scale: str = "probability among the objects of the room"

    @classmethod
    def load(cls, folder: Location) -> Self:
        """The grounder that a training wrote."""
        return cls(Grounder.load(folder))

    @torch.inference_mode()
    def __call__(self, sample: Room, sentence: str) -> NDArray[np.float32]:
        """[M] probability of each proposal, minus infinity for those that are no objects. DataError for a sentence
        without a word that it knows, and for a room of another detector."""
        student = self.student
        asked = dataclasses.replace(sample, sentences=(self._sentence(sample, sentence),))
        if sample.features.shape[1] != student.features:
            raise DataError(
                f"{sample.token} has features of {sample.features.shape[1]} channels, the student reads "
                f"{student.features}; show rooms of the detector that it was trained with"
            )
        batch = CollateRooms.of(student.words, student.method)([asked]).to(student.vectors.device)
        objects = batch.objects[batch.room]
        if student.method.distill:
            scores = student.scores(batch)
        else:
            scores = coarse(student, batch, student.look(batch), Reading.of(student, batch))
        if objects.any():
            scores = scores.masked_fill(~objects, -torch.inf)
        probabilities = torch.where(scores > -torch.inf, scores.softmax(1), scores)[0].cpu().numpy()
        every = np.full(len(sample.boxes), -np.inf, np.float32)
        every[batch.rows[0].cpu().numpy()] = probabilities
        return every

    def _sentence(self, room: Room, text: str) -> Sentence:
        """The data's own, with what its reader found in it; else the words alone."""
        own = next((one for one in room.sentences if one.text == text), None)
        if own is not None:
            return own
        tokens = tuple(tokenize(text))
        if set(self.student.words).isdisjoint(token for token in tokens if token[0].isalpha()):
            raise DataError(
                f"the student knows no word of {text!r}; it knows, for instance, {_some(self.student)}"
            )
        return Sentence(
            name="asked",
            text=text,
            tokens=tokens,
            keywords=np.zeros(len(tokens), bool),
            category=UNNAMED,
            noun=UNNAMED,
            head=UNNAMED,
            target=UNNAMED,
            box=np.full(6, np.nan, np.float32),
        )


def _some(student: Grounder) -> str:
    return ", ".join([word for word in student.words if len(word) > 3][:12])
