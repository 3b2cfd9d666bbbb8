"""Shared by data sets of captioned images: a detector's regions, and the classes that a phrase names."""
