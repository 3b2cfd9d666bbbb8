"""The tiny teacher: a small CLIP, trained on region captions of the synthetic world."""
