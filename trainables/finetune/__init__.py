"""Supervised training of a student on a part of the labels, from a pre-trained backbone or from random."""
