"""ReferItGame: photos, and expressions that each name one thing in them."""

from datasets.referit.source import Keyframe, ReferIt

__all__ = ["Keyframe", "ReferIt"]
