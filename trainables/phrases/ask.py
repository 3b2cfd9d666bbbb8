"""A trained student of phrases asked about any phrase, as the viewer does."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError
from scenelift.io import storage
from scenelift.io.storage import Location
from scenelift.samples.caption import CaptionedImage, Phrase
from trainables.phrases.clip_student import ClipStudent
from trainables.phrases.student import Encoders, PhraseStudent


@dataclass(frozen=True)
class PhraseGrounder:
    """Scores the regions of an image for a phrase."""

    student: Encoders
    scale: str = "cosine of phrase and region"

    @classmethod
    def load(cls, folder: Location) -> Self:
        """The student that a training wrote, of either kind of features."""
        description = storage.join(str(folder), f"{Encoders.FILE}.json")
        try:
            clip = ClipStudent.SOURCE[0] in json.loads(storage.read_bytes(*storage.resolve(description)))
        except ValueError:
            clip = False  # loading it says what is wrong
        return cls((ClipStudent if clip else PhraseStudent).load(folder))

    def __call__(self, sample: CaptionedImage, sentence: str) -> NDArray[np.float32]:
        """[R] cosine of each region with the phrase. DataError for a phrase without a word that the student
        knows."""
        if isinstance(self.student, PhraseStudent) and not self.student.vocabulary([sentence]).any():
            some = ", ".join(word for word in self.student.vocabulary.known[:200] if len(word) > 3)[:100]
            raise DataError(f"the student knows no word of {sentence!r}; it knows, for instance, {some}")
        asked = dataclasses.replace(sample, phrases=(Phrase(sentence, 0),), posteriors=None)
        return self.student.ground(asked)[0]
