"""Samples of data sets: three kinds (frame, captioned image, room), each a frozen dataclass with an Arrow
schema, a version and a class list, and the source that reads them.
"""
