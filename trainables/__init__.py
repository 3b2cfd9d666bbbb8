"""Methods: one room each, with its config, its model wiring, its losses, its command."""

import datasets  # noqa: F401  puts the library in `platform/` on the path
