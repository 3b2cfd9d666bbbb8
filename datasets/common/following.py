"""What to do with a folder of shards: the command that trains on it, with all that it has to be given.

It is printed to be pasted. Presets are known by name alone; `tests/test_next_lines.py` holds the commands against
the trainables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenelift.io import secrets
from scenelift.samples.kind import Manifest

if TYPE_CHECKING:
    from scenelift.samples.caption import CaptionSet
    from scenelift.samples.frame import FrameSet

GLOVE = "data/glove/glove.6B.300d.txt"
"""Where the presets for real sentences look for word vectors."""
OWN = "own"
"""The preset that is made from the shards of a data set without one."""
_CROP = (224, 416)
"""Height and width in which photos enter a batch, in the presets that cut windows out of them."""


def after_frames(manifest: Manifest, folder: str, largest: float) -> str:
    """largest: of the points' features in a frame."""
    from scenelift.samples.frame import FrameSet

    if _for_scores(manifest):
        return _score(folder)
    about, made = FrameSet.of(manifest), manifest.dataset in FRAMES
    if any(about.pairs.values()):
        options = distill_options(manifest, about, largest, made)
        return _train("distill", frame_preset(manifest), folder, options)
    why = (
        "no point falls into an image: is the calibration right?" if about.cameras else "there are no images"
    )
    why = f"nothing can be distilled or pre-trained, as {why}"
    if not about.labeled:
        return f"{why}; without labels nothing can be trained on these shards"
    options = finetune_options(manifest, largest, made)
    return f"{why}\n{_train('finetune', frame_preset(manifest), folder, options)}"


def after_rooms(manifest: Manifest, folder: str) -> str:
    if _for_scores(manifest):
        return _score(folder)
    words = [] if manifest.synthetic else ["--lexicon.glove", GLOVE]
    preset = None if manifest.synthetic else "scanrefer"
    return _train("ground", preset, folder, [*words, *batch_options(manifest.samples, 4)])


def after_captions(manifest: Manifest, about: CaptionSet, folder: str) -> str:
    if _for_scores(manifest):
        return _score(folder)
    options = [] if manifest.synthetic else ["--student.glove", GLOVE]
    if not about.posteriors or not about.mapped:
        options += ["--distillation.support", "none"]
    elif about.neighbours < 8:
        options += ["--distillation.neighbours", str(about.neighbours)]
    preset = None if manifest.synthetic else manifest.dataset
    return _train("phrases", preset, folder, [*options, *batch_options(manifest.samples, 32)])


FRAMES = ("nuscenes", "semantickitti", "scannet")
"""Data sets of frames that have presets of their own."""


def frame_preset(manifest: Manifest) -> str | None:
    """The preset for shards of frames; None: the default, for the synthetic world."""
    if manifest.dataset not in FRAMES:
        return OWN
    return None if manifest.synthetic else manifest.dataset


def distill_options(manifest: Manifest, about: FrameSet, largest: float, made: bool) -> list[str]:
    """What a preset has to be told of these shards, to distil or to pre-train; made: whether it is made for their
    data set, and not from the shards themselves."""
    if not made:
        return []
    if _ours(manifest):
        scale = [] if manifest.dataset == "nuscenes" else _scale(largest)
        return [*scale, *batch_options(manifest.samples, 4)]
    batch = batch_options(manifest.samples, 8 if manifest.dataset == "scannet" else 4)
    height, width = about.image_size
    fewer = manifest.dataset != "scannet" and about.lidar_sweeps < 2
    sweeps = ["--augmentation.lidar_sweeps", str(about.lidar_sweeps)] if fewer else []
    small = manifest.dataset != "semantickitti" and height * width < _CROP[0] * _CROP[1]
    size = ["--augmentation.image.size", str(height), str(width)] if small else []
    return [*sweeps, *size, *batch]


def finetune_options(manifest: Manifest, largest: float, made: bool) -> list[str]:
    """The same for a training on labels."""
    if not made:
        return []
    ours = _ours(manifest)
    other = ours and manifest.dataset != "nuscenes"
    return [*(_scale(largest) if other else []), *batch_options(manifest.samples, 2 if ours else 8)]


def _ours(manifest: Manifest) -> bool:
    """Whether the frames are of our synthetic world, for which the default presets are made."""
    return manifest.synthetic and manifest.dataset in FRAMES


def batch_options(samples: int, batch: int) -> list[str]:
    """A batch that these samples fill, if a preset's is larger: by one worker, which any number of them suits."""
    return ["--loop.batch", str(samples), "--scale.workers", "1"] if samples < batch else []


def _scale(largest: float) -> list[str]:
    """Brings the points' own features to 0..1."""
    scale = 1.0 if largest <= 1.5 else 1 / max(255.0, largest)
    return ["--student.voxels.feature_scale", f"{scale:.6g}"]


def _for_scores(manifest: Manifest) -> bool:
    split = manifest.split
    return not split.startswith("train") and any(word in split for word in ("val", "test"))


def _score(folder: str) -> str:
    return f"to score a training on these shards, give it --data.test {secrets.command([folder])}"


def _train(trainable: str, preset: str | None, folder: str, options: list[str]) -> str:
    words = ["python", "-m", f"trainables.{trainable}", *([preset] if preset else [])]
    return f"next: {secrets.command([*words, '--data.train', folder, *options])}"
