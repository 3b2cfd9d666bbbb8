"""The viewer, with the synthetic worlds as its default, and with the students that find boxes."""

from __future__ import annotations

from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.room import ROOM
from scenelift.viewer import run as viewer
from scenelift.viewer.boxes.explorer import Grounder
from scenelift.viewer.config import ExploreConfig
from trainables.predict.config import SHIPPED


def run(config: ExploreConfig) -> None:
    """Serve the page, or write one sample into a file."""
    viewer.run(config, METHODS)


def _synthetic(trained_by: str) -> str:
    """The synthetic shards that a trainable is scored on."""
    if trained_by == "ground":
        from datasets.synthetic_rooms.shards import synthetic_room_shards

        return synthetic_room_shards("val")
    if trained_by == "phrases":
        from datasets.synthetic_images.shards import synthetic_image_shards

        return synthetic_image_shards("test")
    from datasets.synthetic.shards import synthetic_shards

    return synthetic_shards("val")


def _rooms(folder: str) -> Grounder:
    from trainables.ground.ask import RoomGrounder  # with its networks

    return RoomGrounder.load(folder)


def _regions(folder: str) -> Grounder:
    from trainables.phrases.ask import PhraseGrounder

    return PhraseGrounder.load(folder)


METHODS = viewer.Methods(_synthetic, SHIPPED, {ROOM.name: _rooms, CAPTIONED_IMAGE.name: _regions})
