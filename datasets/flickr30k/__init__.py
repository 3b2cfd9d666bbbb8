"""Flickr30K Entities: photos with five sentences each, and boxes of the things that they name."""
