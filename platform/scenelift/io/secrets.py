"""Addresses without what opens them. Passwords, keys and tokens stand in no file, record, line or error: whoever
reads one of ours takes them from the environment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

HIDDEN = "***"
"""Stands for what was left out of an address."""
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*:/[^\s\"'<>`]*")
_WHOLE = re.compile(r"(?:--[\w.-]+=)?[A-Za-z][\w+.-]*:/")
_PATHS = ("file", "sqlite", "models")
"""Schemes without a host, where @ is part of a name, as in models:/NAME@ALIAS."""
_STORES = ("s3", "gs", "gcs", "hdfs", "az", "abfs", "abfss", "memory")
"""Schemes whose paths may have an @, as in s3://bucket/runs@home."""
_PLAIN = frozenset(
    (
        "endpoint_override",
        "scheme",
        "region",
        "allow_bucket_creation",
        "allow_bucket_deletion",
        "sslmode",
        "charset",
    )
)
"""Options of addresses that open nothing."""


def public(text: str) -> str:
    """A text of any kind as it may be printed and stored: `address` of every address in it."""
    return _ADDRESS.sub(lambda found: _without_secrets(found[0]), text)


def address(value: str) -> str:
    """A single value, such as a setting or a word of a command line, as it may be printed and stored."""
    return _without_secrets(value) if _WHOLE.match(value) else public(value)


def addresses(value: Any) -> Any:
    """Plain values, with `address` of every text in them."""
    if isinstance(value, dict):
        return {key: addresses(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [addresses(each) for each in value]
    return address(value) if isinstance(value, str) else value


def command(words: Iterable[str]) -> str:
    """A command line as it may be printed and stored."""
    return shlex.join(map(address, words))


def _without_secrets(uri: str) -> str:
    scheme, _, rest = uri.partition(":")
    slashes = len(rest) - len(rest.lstrip("/"))
    kind, slash, rest = scheme.rpartition("=")[2].partition("+")[0].lower(), rest[:slashes], rest[slashes:]
    if kind in _PATHS:
        return uri
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    shown = rest
    if "@" in rest and (kind not in _STORES or not {":", "@"}.isdisjoint(host)):
        # Passwords have / ? # and @ in them: up to the last @. In a bucket's path that could be its name.
        several = kind in _STORES and rest.count("@") > 1
        shown = HIDDEN if several else f"{HIDDEN}@{rest.rpartition('@')[2]}"
    place, mark, options = re.fullmatch(r"([^?#]*)([?#]?)(.*)", shown, re.DOTALL).groups()  # type: ignore[union-attr]
    if mark == "?":
        options = "&".join(_option(each) for each in re.split("[&;]", options))
    elif options:
        options = HIDDEN
    return f"{scheme}:{slash}{place}{mark}{options}"


def _option(option: str) -> str:
    name, equals, value = option.partition("=")
    if not equals:
        return HIDDEN if option else ""
    return option if name in _PLAIN and not {"@", "#"} & set(value) else f"{name}={HIDDEN}"
