"""A student of phrases asked about any phrase answers as when it is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scenelift.errors import DataError
from tests.made.captions import made_up_image
from tests.trainables.phrases.test_student import SMALL, STATISTICS, WORDS
from trainables.phrases.ask import PhraseGrounder
from trainables.phrases.student import PhraseStudent


def test_its_scores_are_those_of_the_phrase(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = PhraseStudent(SMALL, WORDS, STATISTICS).eval()
    student.save(tmp_path)
    ask, image = PhraseGrounder.load(str(tmp_path)), made_up_image()
    for phrase, expected in zip(image.phrases, student.ground(image), strict=True):
        if phrase.text != "the street":
            assert ask(image, phrase.text) == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(ask(image, "a red car, perhaps")).all()
    with pytest.raises(DataError, match="knows no word of 'zebra'; it knows, for instance, blue"):
        ask(image, "zebra")
