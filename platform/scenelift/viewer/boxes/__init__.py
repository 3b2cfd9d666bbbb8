"""Rooms and captioned images in the viewer: sentences, and the boxes that a student finds for them."""
