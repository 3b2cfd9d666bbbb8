"""Files: any file system behind one set of functions, folders that are there whole or not at all, and the
terminal.
"""
