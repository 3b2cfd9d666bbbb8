"""The tiny teacher: a small CLIP, trained on region captions of the synthetic world.

`python -m trainables.teacher [PRESET] [--group.field VALUE ...]`
"""
