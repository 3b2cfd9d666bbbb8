"""Flickr30K Entities: photos with five sentences each, and boxes of the things that they name."""

from datasets.flickr30k.source import Flickr30k, Photo

__all__ = ["Flickr30k", "Photo"]
