"""Trees of the synthetic worlds that pass for the real data sets: in their formats, with their names, without what
our generators leave in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from datasets.synthetic.config import PRESETS, Layout, WorldConfig
from datasets.synthetic.generate import generate
from datasets.synthetic_images.config import ImageWorldConfig
from datasets.synthetic_images.generate import generate as generate_images
from datasets.synthetic_rooms.config import PRESETS as ROOMS
from datasets.synthetic_rooms.write import generate as generate_rooms
from scenelift.samples.caption import words_of

OURS = ("world.yaml", "rooms.yaml", "splits.json", "prompts.json")
"""Files that no real tree has."""
OFFICIAL = "scene-0003"
"""A scene of nuScenes' own val split; the world's first train scenes have the names of ones of its train split."""


def write(folder: Path) -> dict[str, Path]:
    """Trees below `folder`, and the files that come with them, by the paths that the documents write."""
    trees = {f"/data/{layout}": _world(folder / layout, layout) for layout in ("nuscenes", "semantickitti")}
    trees["/data/scannet"] = _world(folder / "scannet", "scannet")
    rooms = folder / "rooms"
    generate_rooms(replace(ROOMS["tiny"], out=rooms))
    images = folder / "flickr30k"
    generate_images(ImageWorldConfig(images, train=8, test=4, channels=8))
    (folder / "vg_classes.txt").write_text((images / "classes.txt").read_text())
    for mark in OURS:
        for path in folder.rglob(mark):
            path.unlink()
    glove = _glove(folder / "glove.6B.300d.txt", rooms, images)
    return {
        **trees,
        "/data/flickr30k": images,
        "/data/vg_classes.txt": folder / "vg_classes.txt",
        "/data/glove.6B.300d.txt": glove,
        "glove.6B.300d.txt": glove,
        "/shared/nuscenes": trees["/data/nuscenes"],
        "ROOT": rooms,
    }


def _world(out: Path, layout: Layout) -> Path:
    world = replace(
        PRESETS["tiny"], out=out, layout=layout, image_size=(64, 96), beams=8, azimuths=60, workers=1
    )
    world = replace(world, version="v1.0-trainval") if layout == "nuscenes" else world
    generate(world)
    if layout == "nuscenes":
        _rename(world)
    return out


def _rename(world: WorldConfig) -> None:
    path = world.out / world.version / "scene.json"
    scenes = json.loads(path.read_text())
    for scene in scenes:
        if scene["name"] == world.splits()["val"][0]:
            scene["name"] = OFFICIAL
    path.write_text(json.dumps(scenes))


def _glove(path: Path, rooms: Path, images: Path) -> Path:
    """Made-up vectors of three hundred numbers for every word of the sentences."""
    texts = [file.read_text() for file in (images / "Sentences").iterdir()]
    texts += [file.read_text() for file in rooms.glob("ScanRefer*.json")]
    words = sorted({word for text in texts for word in words_of(text)} | {"unk"})
    lines = [
        f"{word} {' '.join(str((number + 1) * k % 7 - 3) for k in range(1, 301))}\n"
        for number, word in enumerate(words)
    ]
    path.write_text("".join(lines))
    return path
