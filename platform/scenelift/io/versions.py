"""Says when a library is installed in another version than the one whose private parts we use was tested in."""

from __future__ import annotations

import functools
import logging

_log = logging.getLogger(__name__)


@functools.cache  # a process says it once
def warn_if_untested(library: str, installed: str, tested: str) -> None:
    """Warn unless `installed` is `tested`, or a patch of it where `tested` names no patch."""
    if not f"{installed}.".startswith(f"{tested}."):
        _log.warning(
            "%s %s is installed, and Scenelift uses private parts of it that were tested with %s; "
            "run `python -m pytest -m internals` to see whether they still fit",
            library,
            installed,
            tested,
        )
