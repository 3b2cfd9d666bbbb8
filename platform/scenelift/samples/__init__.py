"""Samples of data sets: frames, captioned images and rooms, their rows in shards, and their sources."""
