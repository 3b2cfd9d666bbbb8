"""Flickr30K Entities: photos, five sentences each, and where the things are that they speak of."""

from datasets.flickr30k.source import Flickr30k, Keyframe

__all__ = ["Flickr30k", "Keyframe"]
