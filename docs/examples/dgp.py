"""Scenes in the DGP layout: python -m datasets.shard --source docs/examples/dgp.py:DGP --root FOLDER"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenelift.errors import DataError
from scenelift.geometry.transforms import inverse, rigid, transform_points
from scenelift.samples.rig import View, rig_frame
from scenelift.samples.vocabulary import Vocabulary

NAMES = ("person", "truck", "car", "bus", "motorcycle", "bicycle", "trailer", "road", "vegetation")
BOXED = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 8: 6, 9: 7}  # class of a box in DGP's ontology -> label
COLORS = tuple((37 * i % 256, 91 * i % 256, 173 * i % 256) for i in range(1, 1 + len(NAMES)))


@dataclass(frozen=True)
class Sample:
    token: str


def transform(pose):
    turn, shift = pose["rotation"], pose["translation"]
    return rigid([turn[f"q{axis}"] for axis in "wxyz"], [shift[axis] for axis in "xyz"])


class DGP:
    name, vocabulary = "dgp", Vocabulary("dgp-9", NAMES, tuple((name,) for name in NAMES), COLORS)

    def __init__(self, root, version):
        self.root, self.version = Path(root), version

    def list_samples(self, split):
        if split is not None:
            raise DataError(f"unknown split {split}; known: none, every scene")
        scenes = {
            path.parent.name: json.loads(path.read_text()) for path in sorted(self.root.glob("*/scene_*"))
        }
        return [Sample(f"{name}/{i}") for name, scene in scenes.items() for i in range(len(scene["samples"]))]

    def read(self, sample, options):
        folder, number = self.root / sample.token.split("/")[0], int(sample.token.split("/")[1])
        scene = json.loads(next(folder.glob("scene_*.json")).read_text())
        keys = scene["samples"][number]["datum_keys"]
        data = {each["id"]["name"]: each["datum"] for each in scene["data"] if each["key"] in keys}
        rig = json.loads(next((folder / "calibration").iterdir()).read_text())
        lidar, views = data.pop("LIDAR")["point_cloud"], []
        cloud = np.load(folder / lidar["filename"])["data"]
        for name, lens in zip(rig["names"], rig["intrinsics"], strict=True):
            if name in data:  # photos and cloud are each posed at their own instant
                photo = data[name]["image"]
                camera_from_lidar = inverse(transform(photo["pose"])) @ transform(lidar["pose"])
                intrinsic = [[lens["fx"], 0, lens["cx"]], [0, lens["fy"], lens["cy"]], [0, 0, 1]]
                views.append(
                    View(name, (folder / photo["filename"]).read_bytes(), camera_from_lidar, intrinsic)
                )
        labels = np.zeros(len(cloud), np.uint8)
        for each in json.loads((folder / lidar["annotations"]["1"]).read_text())["annotations"]:
            box, inner = each["box"], transform_points(inverse(transform(each["box"]["pose"])), cloud[:, :3])
            half = np.array([box["length"], box["width"], box["height"]]) / 2
            labels[(np.abs(inner) <= half).all(1)] = BOXED.get(each["class_id"], 0)
        given = {"features": cloud[:, 3], "labels": labels, "views": views, "scene": folder.name}
        return rig_frame(sample.token, cloud[:, :3], options, **given)
