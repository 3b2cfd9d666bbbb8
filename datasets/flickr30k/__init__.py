"""Flickr30K Entities: photos, five sentences each, and where the things are that they speak of."""
