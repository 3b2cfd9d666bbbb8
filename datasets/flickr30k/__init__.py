"""Flickr30K Entities: photos, five sentences each, and where the things are that they speak of."""

from datasets.flickr30k.source import Flickr30k, Photo

__all__ = ["Flickr30k", "Photo"]
