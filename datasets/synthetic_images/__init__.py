"""Synthetic images for phrase grounding: colored things with parts, sentences about them, and a detector's view.

`python -m datasets.synthetic_images` writes them in Flickr30K Entities' layout; they are read only through that
reader.
"""
