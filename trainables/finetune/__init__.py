"""Supervised training of a student on a part of the labels, from a pre-trained backbone or from random.

`python -m trainables.finetune [PRESET] [--start runs/NAME/student] [--labels.fraction 0.01]`
"""
