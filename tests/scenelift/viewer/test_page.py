"""A page without a server holds everything that it shows."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from scenelift.errors import StorageError
from scenelift.viewer.explorer import Explorer
from scenelift.viewer.page import page_of, write


def content(text: str) -> dict:
    found = re.search(r'<script id="content" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_points_colors_labels_and_photos(explorer: Explorer, tmp_path: Path) -> None:
    view = explorer.view(2)
    path = tmp_path / "deep" / "page.html"
    write(page_of(explorer, view, "car"), path)
    text = path.read_text()
    held = content(text)
    points = np.frombuffer(base64.b64decode(held["points"]), "<f4").reshape(-1, 3)
    assert np.array_equal(points, view.points)
    names = [each["name"] for each in held["colorings"]]
    assert {"student", "student (against)", "error", "words: car", "truth"} <= {*names}
    shown = base64.b64decode(held["colorings"][names.index("error")]["colors"])
    assert shown == explorer.coloring(view, "error").colors.tobytes()
    who = {each["who"]: base64.b64decode(each["ids"]) for each in held["labels"]}
    assert who["student"] == explorer.labels(view, "student").astype(np.uint8).tobytes()
    assert len(held["photos"]) == len(view.cameras)
    assert "http" not in text.replace("http-equiv", ""), "it asks nobody for anything"
    assert page_of(explorer, view).html().count("words:") == 0


def test_a_name_cannot_end_the_script(explorer: Explorer) -> None:
    view = explorer.view(2)
    page = page_of(explorer, view)
    text = type(page)(
        "</script><b>%CONTENT%", page.points, {"a</script>": page.colorings["height"]}, 1.0
    ).html()
    assert text.count("</script>") == 2 and content(text)["colorings"][0]["name"] == "a</script>"


def test_a_page_that_cannot_be_written_is_said(explorer: Explorer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write(page_of(explorer, explorer.view(2)), tmp_path / "file" / "page.html")
