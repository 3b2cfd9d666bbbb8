"""Word vectors from a GloVe text file: a word and its numbers per line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError

_LONGEST = 1 << 20
"""Characters of a line."""
_MOST = 1e3
"""Numbers of word vectors are below it; GloVe's largest is about 20."""


def read_glove(path: Path, words: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors of the given words; DataError if it has none of them, or is not such a file."""
    wanted, vectors, channels = set(words), {}, 0
    if not path.is_file():
        raise DataError(f"{path} is not a file; give a GloVe file (a word and its numbers per line)")
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in iter(lambda: file.readline(_LONGEST), ""):
                if len(line) == _LONGEST:
                    raise ValueError(f"a line has more than {_LONGEST:,} characters")
                word, *numbers = line.rstrip().split(" ")
                channels = channels or len(numbers)
                # Some GloVe words contain spaces, such as ". . ."; ours do not, so such lines are skipped.
                if word in wanted and len(numbers) <= channels:
                    vectors[word] = np.array(numbers, np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a GloVe file (a word and its numbers per line): {error}") from None
    if len({len(vector) for vector in vectors.values()}) != 1:
        raise DataError(f"{path} has none of the words of the training, or vectors of several lengths")
    if not all(vector.size and (np.abs(vector) < _MOST).all() for vector in vectors.values()):
        raise DataError(
            f"{path} has word vectors without numbers, or with numbers that are not finite or huge"
        )
    return vectors
