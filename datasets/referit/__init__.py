"""ReferItGame: photos, and expressions that each refer to one thing in them."""

from datasets.referit.source import Photo, ReferIt

__all__ = ["Photo", "ReferIt"]
