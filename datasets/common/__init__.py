"""What the readers of several data sets share: files that are checked as they are read."""
