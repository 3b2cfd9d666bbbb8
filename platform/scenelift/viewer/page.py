"""A view as one HTML file with everything in it, which any browser opens from a disk, without a server.

The browser part of viser cannot: it waits for a server, or fetches a recording, which browsers refuse for files.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import StorageError
from scenelift.io import storage
from scenelift.viewer.colors import Color, Coloring
from scenelift.viewer.explorer import AGAINST, DISTANCE, OF_STUDENTS, STUDENT, TEACHER, TRUTH, Explorer
from scenelift.viewer.photos import jpeg
from scenelift.viewer.scans.view import View


@dataclass(frozen=True)
class Page:
    """What a page shows. Shapes: N points, S line segments."""

    title: str
    points: NDArray[np.float32]
    """[N, 3] metres."""
    colorings: Mapping[str, Coloring]
    extent: float
    """Metres from the middle to where the cloud ends."""
    labels: Mapping[str, NDArray[np.integer]] = field(default_factory=dict)
    """Who says it -> [N] 0..C."""
    classes: Sequence[str] = ()
    photos: Sequence[tuple[str, NDArray[np.uint8]]] = ()
    """(name, [H, W, 3])."""
    lines: Sequence[tuple[NDArray[np.float32], Color]] = ()
    """([S, 2, 3] segments, their color)."""

    def html(self) -> str:
        """The file's text."""
        template = resources.files("scenelift.viewer").joinpath("page.html").read_text()
        segments = [part for part, _ in self.lines]
        shades = [np.tile(np.array(color, np.uint8), (2 * len(part), 1)) for part, color in self.lines]
        middle = np.median(self.points, 0) if len(self.points) else np.zeros(3)
        content = {
            "points": _packed(self.points.astype("<f4")),
            "lines": _packed(np.concatenate(segments).astype("<f4") if segments else np.zeros(0)),
            "line_colors": _packed(np.concatenate(shades) if shades else np.zeros(0)),
            "middle": middle.tolist(),
            "extent": self.extent,
            "colorings": [
                {"name": name, "colors": _packed(each.colors), "legend": each.legend, "note": each.note}
                for name, each in self.colorings.items()
            ],
            "classes": ["-", *self.classes],
            "labels": [
                {"who": who, "ids": _packed(ids.astype(np.uint8))} for who, ids in self.labels.items()
            ],
            "photos": [
                {"name": name, "jpeg": base64.b64encode(jpeg(photo)).decode()} for name, photo in self.photos
            ],
        }
        text = json.dumps(content).replace("</", "<\\/")  # or a name could end the script
        before, after = template.replace("%TITLE%", html.escape(self.title.replace("%", " "))).split(
            "%CONTENT%"
        )
        return f"{before}{text}{after}"


def page_of(explorer: Explorer, view: View, words: str = "") -> Page:
    """The page of a view, with all its colorings; words: typed ones, for the coloring of that name."""
    colorings: dict[str, Coloring] = {}
    for name in explorer.colorings(view):
        if name == "words" and not words:
            continue
        for student in explorer.students if name in OF_STUDENTS and explorer.students else (STUDENT,):
            title = f"{name}: {words}" if name == "words" else name
            title = title if student == STUDENT else f"{title} ({AGAINST})"
            colorings[title] = explorer.coloring(view, name, student, words)
    who = [TRUTH] if view.truth is not None else []
    who += [TEACHER] if explorer.answers.taught(view) is not None else []
    who += explorer.students
    over = explorer.coloring(view, DISTANCE)
    return Page(
        title=view.name if view.scene in (view.name, ".") else f"{view.scene}: {view.name}",
        points=view.points,
        colorings=colorings,
        extent=view.extent,
        labels={each: explorer.labels(view, each) for each in who},
        classes=explorer.vocabulary.classes if explorer.vocabulary else (),
        photos=[(name, explorer.photo(view, number, over)) for number, name in enumerate(view.cameras)],
    )


def write(page: Page, path: Path) -> None:
    """Write a page; StorageError if it cannot be written."""
    try:
        path.expanduser().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    storage.write_text(path, page.html())


def _packed(array: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
