"""One claim, one file: what documents state is measured here."""

import datasets  # noqa: F401  puts the library in `platform/` on the path
