"""Flickr30K Entities as a source of captioned images: sentences, boxes, splits, and a folder of regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets.captions.config import CaptionOptions
from datasets.captions.options import captioned_image, read_photo
from datasets.captions.phrase_classes import PhraseClasses, phrase_classes
from datasets.captions.regions import RegionFiles
from datasets.common.files import decode_text, lines, not_hidden, read_bytes, read_text, words
from datasets.common.listing import once
from datasets.common.release import release
from datasets.flickr30k.annotations import Annotation, read_annotation
from datasets.flickr30k.sentences import UNANNOTATED, Chunk, read_sentence
from scenelift.errors import DataError, FrameError
from scenelift.samples.caption import CaptionedImage, Phrase

SPLITS = ("train", "val", "test")
_PHOTOS = "flickr30k-images"


@dataclass(frozen=True)
class Photo:
    """One image."""

    token: str
    """Its id, such as 1000092795."""


class Flickr30k:
    """A tree of Flickr30K Entities, as unpacked from its archive.

    `ROOT/Sentences/ID.txt`, `ROOT/Annotations/ID.xml`, the lists `ROOT/{train,val,test}.txt`, and, if photos are
    kept, `ROOT/flickr30k-images/ID.jpg`. Regions come from elsewhere, under the photo's name ID.jpg.
    Small to pickle.
    """

    name = "flickr30k"

    def __init__(self, root: Path, regions: RegionFiles, version: str = "1.0") -> None:
        """DataError if the root is not such a tree."""
        self.root, self.regions, self.version = root, regions, release(root, version)
        self.left_out: dict[str, int] = {}
        for folder in ("Sentences", "Annotations"):
            if not (root / folder).is_dir():
                raise DataError(
                    f"{root} has no {folder}; give the folder in which annotations.zip was unpacked"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """[C] the detector's classes."""
        return self.regions.classes

    def list_samples(self, split: str | None = None) -> list[Photo]:
        """The images of a split (None: all that have sentences), in the order of its list.

        Raises DataError for an unknown split or one without images.
        """
        self.left_out = {}
        if split is None:
            names = sorted(path.stem for path in not_hidden((self.root / "Sentences").glob("*.txt")))
        else:
            names = once(self._listed(split), f"images of {split}.txt", self.left_out)
        if not names:
            raise DataError(f"{self.root} has no image{f' of {split}' if split else ''}")
        return [Photo(name) for name in names]

    def _listed(self, split: str) -> list[str]:
        known = [name for name in SPLITS if (self.root / f"{name}.txt").is_file()]
        if split not in known:
            raise DataError(
                f"unknown split {split}; known: {', '.join(known) or 'none'} (the lists SPLIT.txt in {self.root})"
            )
        listed = words(read_text(self.root / f"{split}.txt"))
        return [name.removesuffix(".jpg") for name in listed]

    def read(self, keyframe: Photo, options: CaptionOptions) -> CaptionedImage:
        """Read one image: its sentences' phrases with boxes and classes, and its regions.

        A phrase of a chain with several boxes gets the box around them; those of chain 0 have none. FrameError for
        anything wrong with the files.
        """
        token, image = keyframe.token, f"{keyframe.token}.jpg"
        name = f"Annotations/{token}.xml"
        annotation = read_annotation(name, read_bytes(self.root, name))
        regions = self.regions.read(image, annotation.size)
        classes = phrase_classes(self.regions.classes, options.wordnet, options.mixture)
        sentences = self._sentences(f"Sentences/{token}.txt")
        phrases = [
            _phrase(chunk, number, annotation, classes)
            for number, (_, chunks) in enumerate(sentences)
            for chunk in chunks
        ]
        return captioned_image(
            token,
            annotation.size,
            [plain for plain, _ in sentences],
            phrases,
            regions,
            options,
            read_photo(self.root / _PHOTOS, image, annotation.size) if options.photos else None,
        )

    def _sentences(self, name: str) -> list[tuple[str, list[Chunk]]]:
        text = decode_text(name, read_bytes(self.root, name))
        sentences = [read_sentence(name, line) for line in lines(text)]
        if not sentences:
            raise FrameError(f"{name} has no sentence")
        return sentences


def _phrase(chunk: Chunk, sentence: int, annotation: Annotation, classes: PhraseClasses) -> Phrase:
    box = None if chunk.chain == UNANNOTATED else annotation.union(chunk.chain)
    return Phrase(chunk.text, sentence, chunk.types, classes(chunk.text), box)
