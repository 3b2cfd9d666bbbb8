"""The configuration of the synthetic images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenelift.config.constraints import NonNegativeFloat, NonNegativeInt, PositiveInt, Seed, Settings
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class Kind:
    """A kind of thing: a body that it shares with other kinds of its type, and a head of its own."""

    name: str
    type: str
    """Flickr30K's type; all kinds of a type have the same body."""
    head: str
    """Shape of its head."""
    words: tuple[str, ...]
    """Its names in captions, the most common first."""
    known: bool
    """Whether the detector has a class for it."""


KINDS = (
    Kind("man", "people", "disc", ("man", "guy"), True),
    Kind("woman", "people", "triangle", ("woman", "lady"), True),
    Kind("child", "people", "arrow", ("child", "kid"), False),
    Kind("dog", "animals", "diamond", ("dog", "puppy"), True),
    Kind("cat", "animals", "cup", ("cat",), False),
    Kind("car", "vehicles", "dome", ("car", "automobile"), True),
    Kind("boat", "vehicles", "sail", ("boat", "ship"), False),
    Kind("house", "other", "roof", ("house",), True),
    Kind("tower", "other", "cross", ("tower",), False),
    Kind("lamp", "other", "hexagon", ("lamp",), True),
)
BODIES = {
    "people": ("rectangle", 20, 72),
    "animals": ("oval", 46, 30),
    "vehicles": ("tray", 46, 24),
    "other": ("rectangle", 34, 60),
}
"""Type -> shape of its bodies, largest width and height of a thing, pixels."""
ABSENT = ("bicycle", "chair", "bottle")
"""Classes of the detector that no image shows."""
CLASSES = (*(kind.name for kind in KINDS if kind.known), *ABSENT)
"""[C] the detector's class list."""
COLORS = {
    "red": (205, 50, 45),
    "green": (60, 150, 70),
    "blue": (55, 90, 200),
    "yellow": (225, 200, 60),
    "purple": (140, 70, 165),
    "white": (235, 235, 230),
    "black": (45, 45, 50),
    "orange": (235, 140, 40),
}
"""RGB of bodies."""
HEADS = (205, 175, 150)
"""RGB of all heads."""
SCENES = {
    "field": (150, 175, 120),
    "beach": (220, 205, 165),
    "street": (150, 150, 155),
    "room": (190, 165, 150),
}
"""Background -> RGB."""
TITLES = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000}
"""Number of the first image of each split; an image depends on the seed and its number alone."""


@dataclass(frozen=True)
class ImageWorldConfig(Settings):
    """Images of colored things with parts, sentences about them, and what a detector proposes and believes."""

    out: Path = Path("data/synthetic-images")
    """Folder that is written, in Flickr30K Entities' layout."""
    train: NonNegativeInt = 600
    """Images to train on."""
    val: NonNegativeInt = 0
    """Images of the split val."""
    test: NonNegativeInt = 200
    """Images to score on."""
    seed: Seed = 0
    """Decides everything."""
    channels: PositiveInt = 64
    """Width of a region's feature."""
    look_noise: NonNegativeFloat = 1.0
    """How far things of one look differ, as a share of how far looks differ."""
    feature_noise: NonNegativeFloat = 0.25
    """What a region's feature varies by itself, on the same scale."""
    detector_noise: NonNegativeFloat = 1.0
    """Standard deviation that is added to the detector's logits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.train + self.val + self.test:
            raise ConfigError("no images to make: set train, val or test")

    def splits(self) -> dict[str, list[int]]:
        """The numbers of the images of each split that has some."""
        counts = {"train": self.train, "val": self.val, "test": self.test}
        return {split: list(range(TITLES[split], TITLES[split] + n)) for split, n in counts.items() if n}


PRESETS = {"demo": ImageWorldConfig()}
