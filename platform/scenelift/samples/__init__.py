"""Samples of data sets: frames, captioned images and rooms, each with an Arrow schema, a version and its
source."""
