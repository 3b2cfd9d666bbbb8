"""What is broken: a small tree of each data set, and how it is read from its files to a sample."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.captions.config import CaptionOptions
from datasets.captions.phrase_classes import phrase_classes
from datasets.captions.regions import AuthorsHdf5, BottomUpFolder, read_classes
from datasets.captions.wordnet import open_wordnet
from datasets.flickr30k.source import Flickr30k
from datasets.grounding.classes import TABLE, ClassMap
from datasets.grounding.config import RoomOptions
from datasets.grounding.instances import read_scene
from datasets.grounding.source import Grounding
from datasets.nuscenes.source import NuScenes
from datasets.referit.source import ReferIt
from datasets.scannet.source import ScanNet
from datasets.semantickitti.source import SemanticKITTI
from datasets.synthetic_rooms.config import PRESETS
from datasets.synthetic_rooms.write import generate
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import Kind, left_out
from scenelift.samples.room import ROOM
from tests.made.kitti_tree import KittiTree
from tests.made.nuscenes_tree import VERSION, Tree, jpeg
from tests.made.phrase_tree import SIZE, write_flickr30k
from tests.made.scannet_tree import ScanNetTree


@dataclass(frozen=True)
class Read:
    """What a subject's files were read as."""

    value: Any
    """To compare with what the whole files are read as."""
    left_out: Mapping[str, int]
    """What was left out and counted: reason -> number."""


@dataclass(frozen=True)
class Subject:
    """Files, and how they are read."""

    write: Callable[[Path], None]
    """Writes them into a folder that does not exist."""
    read: Callable[[Path], Read]
    """Reads the folder; raises one of our errors for what is wrong with it."""
    files: str = ""
    """Pattern of the files to break, of paths within the folder; empty: all."""

    def kinds(self, root: Path) -> list[Path]:
        """One file to break of each folder and name without its numbers, relative to the root."""
        found: dict[str, Path] = {}
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and re.search(self.files, str(name)):
                found.setdefault(re.sub(r"\d+", "#", str(name)), name)
        return list(found.values())


def sample(open_: Callable[[Path], Any], kind: Kind[Any], split: str | None, options: Any) -> Callable:
    """Reads the first sample of a source, as a shard job does."""

    def read(root: Path) -> Read:
        source = open_(root)
        found = kind.read(source, source.list_samples(split)[0], options)
        value = [kind.to_row(found), kind.decides(source)]
        return Read(value, left_out([kind.summarize([found], source)], source))

    return read


def _nuscenes(root: Path) -> None:
    Tree(root, ("scene-0103",)).write()
    (root / "prompts.json").write_text(json.dumps({"car": ["car", "van"], "pedestrian": ["man"]}))
    (root / VERSION / "splits.json").write_text(json.dumps({"mine": ["scene-0103"]}))


def _panoptic(root: Path) -> None:
    tree, rows = Tree(root, ("scene-0103",)), []
    for row in tree.rows["lidarseg"]:
        name = f"panoptic/{VERSION}/{row['token']}_panoptic.npz"
        raw = np.fromfile(root / row["filename"], np.uint8).astype(np.uint16) * 1000
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(root / name, data=raw)
        rows.append({**row, "filename": name})
    (tree.tables / "lidarseg.json").unlink()
    (tree.tables / "panoptic.json").write_text(json.dumps(rows))


def _kitti(root: Path) -> None:
    KittiTree(root, ("08",))


def _scannet(root: Path) -> None:
    ScanNetTree(root)


def _scannet_raw(root: Path) -> None:
    """Points as raw values, as other tools write them, and no photos."""
    ScanNetTree(root)
    source = ScanNet(root)
    (root / "points").mkdir()
    for key in source.list_samples():
        frame = source.read(key, FRAMES)
        colors = np.rint((frame.features + 1) * 127.5)
        values = np.concatenate([frame.points, colors], 1).astype("<f4")
        (root / "points" / f"{key.token}.bin").write_bytes(values.tobytes())
    shutil.rmtree(root / "scans")
    shutil.rmtree(root / "scannet_frames_25k")


def _flickr(root: Path) -> None:
    write_flickr30k(root, {"train": ["1"]})
    (root / "classes.txt").write_text("man\ndog\n")
    (root / "flickr30k-images").mkdir()
    photo = jpeg(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8))
    (root / "flickr30k-images/1.jpg").write_bytes(photo)


def _hdf5(root: Path) -> None:
    import h5py

    _flickr(root)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (6, 2))
    rows = [rng.gamma(1, 1, (6, 5)), rng.normal(size=(6, 3)), corner, corner + rng.uniform(5, 25, (6, 2))]
    with h5py.File(root / "regions.hdf5", "w") as file:
        file["1.jpg"] = np.concatenate(rows, 1).astype(np.float32)


def _referit(root: Path) -> None:
    _flickr(root)
    (root / "flickr30k-images").rename(root / "images")
    entry = {"img_id": "1.jpg", "bbox": [10, 20, 30, 40], "split": "train", "query": ["man on the left"]}
    (root / "expressions.json").write_text(json.dumps([entry]))
    shutil.rmtree(root / "Annotations")
    shutil.rmtree(root / "Sentences")
    (root / "train.txt").unlink()


def _wordnet(root: Path) -> None:
    _flickr(root)
    (root / "wordnet").mkdir()
    for name, text in WORDNET.items():
        (root / "wordnet" / name).write_text(text)


WORDNET = {
    "index.noun": "  1 This software\ndog n 2 2 @ ~ 2 1 00000200 00000300\nman n 1 1 @ 1 0 00000300\n"
    "animal n 1 1 ~ 1 0 00000100\ntime n 1 1 @ 1 0 00000200\n",
    "data.noun": "  1 This software\n00000100 03 n 01 animal 0 001 ~ 00000200 n 0000 | a living thing\n"
    "00000200 05 n 02 dog 0 domestic_dog a 002 @ 00000100 n 0000 @i 00000300 n 0000 | barks\n"
    "00000300 18 n 01 dog 1 000 | a dull man\n",
    "noun.exc": "doggen dog animal\n",
}
"""A WordNet of five nouns."""


def _rooms(root: Path) -> None:
    generate(replace(PRESETS["tiny"], out=root, train=1, val=1))


def _masks(root: Path) -> None:
    """Proposals in Mask3D's form."""
    _rooms(root)
    rng = np.random.default_rng(0)
    for path in (root / "proposals").iterdir():
        count = len(read_scene(root, path.stem, ClassMap.read(root / TABLE)).points)
        arrays = {
            "masks": rng.random((3, count)) < 0.1,
            "classes": np.arange(3),
            "scores": np.full(3, 0.7, np.float32),
        }
        np.savez(path, **arrays)


def _csv(corpus: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        _rooms(root)
        row = json.loads((root / "ScanRefer_filtered_train.json").read_text())[0]
        scene, target, name = row["scene_id"], row["object_id"], row["object_name"]
        (root / f"{corpus}.csv").write_text(
            "stimulus_id,scan_id,target_id,instance_type,utterance,tokens,mentions_target_class\n"
            f"{scene}-{name}-1-{target},{scene},{target},{name},it is red,\"['it', 'is', 'red']\",True\n"
        )
        (root / f"{corpus}_train_scans.txt").write_text(f"{scene}\n")
        (root / "manually_inspected_bad_contexts.csv").write_text(f"stimulus_id\n{scene}-{name}-1-99\n")
        (root / "ScanRefer_filtered_train.json").unlink()

    return write


def _regions(root: Path) -> BottomUpFolder:
    return BottomUpFolder(root / "regions", read_classes(root / "classes.txt"))


FRAMES, PHOTOS, ROOMS = ReadOptions(image_size=(24, 32)), CaptionOptions(photos=True), RoomOptions(points=50)


def _flickr_by(options: CaptionOptions, hdf5: bool = False) -> Callable[[Path], Read]:
    def read(root: Path) -> Read:
        def open_(folder: Path) -> Flickr30k:
            file = folder / "regions.hdf5"
            regions = AuthorsHdf5(file, read_classes(folder / "classes.txt"), 5) if hdf5 else _regions(folder)
            return Flickr30k(folder, regions)

        phrase_classes.cache_clear()
        open_wordnet.cache_clear()
        own = replace(options, wordnet=str(root / "wordnet")) if (root / "wordnet").is_dir() else options
        return sample(open_, CAPTIONED_IMAGE, "train", own)(root)

    return read


DATA: dict[str, Subject] = {
    "nuscenes": Subject(
        _nuscenes,
        sample(lambda root: NuScenes(root, VERSION), FRAME, "mine", ReadOptions(2, (24, 32))),
    ),
    "nuscenes panoptic": Subject(
        _panoptic,
        sample(lambda root: NuScenes(root, VERSION), FRAME, None, FRAMES),
        "panoptic",
    ),
    "semantickitti": Subject(_kitti, sample(SemanticKITTI, FRAME, "val", ReadOptions(1, (24, 32)))),
    "scannet": Subject(_scannet, sample(ScanNet, FRAME, "train", FRAMES)),
    "scannet raw": Subject(_scannet_raw, sample(ScanNet, FRAME, "train", FRAMES), r"\.bin$"),
    "flickr30k": Subject(_flickr, _flickr_by(PHOTOS)),
    "flickr30k hdf5": Subject(_hdf5, _flickr_by(CaptionOptions(), hdf5=True), r"\.hdf5$"),
    "flickr30k wordnet": Subject(_wordnet, _flickr_by(CaptionOptions()), "wordnet"),
    "referit": Subject(
        _referit, sample(lambda root: ReferIt(root, _regions(root)), CAPTIONED_IMAGE, "train", PHOTOS)
    ),
    "scanrefer": Subject(_rooms, sample(Grounding, ROOM, "train", ROOMS)),
    "scanrefer masks": Subject(_masks, sample(Grounding, ROOM, "train", ROOMS), r"\.npz$"),
    "nr3d": Subject(
        _csv("nr3d"),
        sample(lambda root: Grounding(root, "nr3d", "instances"), ROOM, "train", ROOMS),
        r"nr3d|bad_contexts|scans/",
    ),
    "sr3d": Subject(
        _csv("sr3d"),
        sample(lambda root: Grounding(root, "sr3d", "instances"), ROOM, "train", ROOMS),
        r"sr3d\.csv",
    ),
}
"""The readers of data sets, by name."""
