"""Shared by the readers of several data sets: files that are checked as they are read."""
