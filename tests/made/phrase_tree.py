"""Small trees of Flickr30K Entities and region files, written by hand."""

import numpy as np

from datasets.captions.regions import BottomUpFolder
from datasets.flickr30k.source import Flickr30k

CLASSES = ("man", "dog")
SIZE = (80, 100)


def region_arrays(rng, regions=6, channels=5):
    corner = rng.uniform(0, 50, (regions, 2))
    return {
        "x": rng.gamma(1, 1, (channels, regions)).astype(np.float32),
        "bbox": np.concatenate([corner, corner + rng.uniform(5, 25, (regions, 2))], 1).astype(np.float32),
        "cls_prob": rng.dirichlet(np.ones(1 + len(CLASSES)), regions).astype(np.float32),
        "image_h": np.int64(SIZE[0]),
        "image_w": np.int64(SIZE[1]),
    }


def write_flickr30k(root, splits, box=(11, 21, 31, 41)):
    """A tree whose images have one sentence, "a man" at the box (1-based) and "the time" nowhere."""
    for folder in ("Sentences", "Annotations", "regions"):
        (root / folder).mkdir(parents=True)
    corners = "".join(
        f"<{side}>{at}</{side}>" for side, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    for split, tokens in splits.items():
        (root / f"{split}.txt").write_text("\n".join(tokens))
        for token in tokens:
            (root / "Sentences" / f"{token}.txt").write_text(
                "[/EN#1/people a man] has [/EN#0/notvisual the time] .\n"
            )
            (root / "Annotations" / f"{token}.xml").write_text(
                f"<annotation><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>"
                f"<object><name>1</name><bndbox>{corners}</bndbox></object></annotation>"
            )
            rng = np.random.default_rng(int(token))
            np.savez(root / "regions" / f"{token}.jpg.npz", **region_arrays(rng))
    return Flickr30k(root, BottomUpFolder(root / "regions", CLASSES))
