"""Searches: one file each, with its space, its objective, its command."""

import datasets  # noqa: F401  puts the library in `platform/` on the path
