"""What the library made of a bad input, and whether that is right."""

from __future__ import annotations

import io
import math
import re
import time
import warnings
from collections.abc import Callable, Collection
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.hostile.mutations import Truth
from benchmarks.hostile.subjects import Read
from scenelift.errors import SceneliftError

SECONDS = 10.0
"""Longest time that an input may take."""
BYTES = 2 << 30
"""Most memory that an input may take, beside what the process has."""
LONGEST = 1000
"""Characters of an error."""
_MEMORY = re.compile(r"MemoryError|[Uu]nable to allocate|bad_alloc|malloc of")
_NAMED_BY_A_LIST = (
    " is missing under ",
    " is no file's name",
    " is not below ",
    "the tables say",
    "unknown split",
)
"""In lines about a file or a split that a list or a table names."""
_NET = re.compile(r": \w+: .*\(\w+\.py:\d+\)$|\(\w+\.py:\d+\)$")
"""The end of a line of `Kind.read` about an error that no reader foresaw."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one input."""

    kind: Literal["clear", "tolerated", "failed"]
    """`clear`: refused by one line that names the file or the option; `tolerated`: read, and rightly so, or with a
    word about it; `failed`: anything else."""
    why: str
    seconds: float = 0.0
    net: bool = False
    """Whether the line is the one for errors that no reader foresaw."""


def judged(attempt: Callable[[], Read], whole: Read | None, truth: Truth, names: Collection[str]) -> Verdict:
    """Attempt to read a bad input, and judge what comes of it.

    whole: what the whole input is read as, None where that is not known. names: one of which a clear line has.
    """
    said, start = io.StringIO(), time.monotonic()
    try:
        with (
            redirect_stderr(said),
            redirect_stdout(said),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            found = attempt()
    except SceneliftError as error:
        verdict = _refused(str(error), names)
    except (Exception, SystemExit) as error:
        verdict = Verdict("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    else:
        verdict = _taken(found, whole, truth, said.getvalue())
    seconds = time.monotonic() - start
    if seconds > SECONDS:
        verdict = Verdict("failed", f"took {seconds:.1f} s; {verdict.kind}: {verdict.why}")
    return Verdict(verdict.kind, verdict.why, seconds, verdict.net)


def _refused(line: str, names: Collection[str]) -> Verdict:
    net = bool(_NET.search(line))
    faults = {
        "takes too much memory": bool(_MEMORY.search(line)),
        "is several lines": "\n" in line,
        f"has {len(line)} characters": len(line) > LONGEST,
        "advises to run code out of a file": "allow_pickle=True" in line or "only if you trust" in line,
        "names neither file nor option": not any(name in line for name in (*names, *_NAMED_BY_A_LIST)),
    }
    found = [fault for fault, there in faults.items() if there]
    return Verdict(
        "failed" if found else "clear", f"{'; '.join(found)}: {line[:400]}" if found else line[:400], net=net
    )


def _taken(found: Read, whole: Read | None, truth: Truth, said: str) -> Verdict:
    if whole is None or truth == "unknown":
        return Verdict("tolerated", "it may mean that")
    if same(found.value, whole.value):
        return Verdict("tolerated", "read as the whole file")
    if found.left_out != whole.left_out:
        return Verdict("tolerated", f"counted: {dict(found.left_out)}")
    if said.strip():
        return Verdict("tolerated", f"said: {' '.join(said.split())[:200]}")
    return Verdict("failed", f"silently read as something else: {difference(found.value, whole.value)}")


def same(one: Any, other: Any) -> bool:
    """Whether two values of plain types and arrays are equal, NaN with NaN."""
    return difference(one, other) == ""


def difference(one: Any, other: Any, at: str = "") -> str:
    """The first place where they differ; empty if they are equal."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = [difference(one[key], other[key], f"{at}.{key}") for key in one]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        parts = [difference(a, b, f"{at}[{number}]") for number, (a, b) in pairs]
    elif isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        parts = []
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        equal = one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        parts = [] if equal else [f"{at} is {str(one)[:60]}, not {str(other)[:60]}"]
    else:
        parts = (
            [] if type(one) is type(other) and one == other else [f"{at} is {one!r:.60}, not {other!r:.60}"]
        )
    return next(filter(None, parts), "")
