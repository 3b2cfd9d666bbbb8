"""WS-3DVG: which box of a room a sentence means, learned from rooms and sentences alone.

`python -m trainables.ground [PRESET] [--group.field VALUE ...]`
"""
