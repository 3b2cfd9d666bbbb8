"""Point clouds as files: what is read, and how labels are written."""
