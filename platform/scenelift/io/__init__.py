"""Files and the terminal: one set of functions for any file system, and folders that are complete or absent."""
