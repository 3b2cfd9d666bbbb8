"""ReferItGame: photos, and expressions that each name one thing in them."""

from datasets.referit.source import Photo, ReferIt

__all__ = ["Photo", "ReferIt"]
