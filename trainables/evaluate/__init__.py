"""Scores of a trained student, of the teacher alone, or of both, on labeled shards.

`python -m trainables.evaluate [PRESET] --student runs/NAME/student --data DIR`
"""
