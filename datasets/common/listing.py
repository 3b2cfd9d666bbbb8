"""Which of the wanted scenes a tree has, and what is said about those that it lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from scenelift.io.console import say

T = TypeVar("T")


def present(wanted: Collection[str], here: Sequence[str], what: str, left_out: dict[str, int]) -> list[str]:
    """The wanted names that are here, in the order of `here`; the others are counted in `left_out`, and said.

    what: kind and origin of the wanted names, such as "scenes of train (scannetv2_train.txt)".
    """
    found = [name for name in here if name in set(wanted)]
    absent = sorted(set(wanted) - set(here))
    reason = f"{what} that are not in the tree"
    note(left_out, reason, len(absent), f"{len(absent):,} {reason} are left out: {shown(absent)}")
    return found


def once(names: Sequence[T], what: str, left_out: dict[str, int] | None) -> list[T]:
    """The names without repetitions, in order; the repetitions are counted in `left_out`, and said."""
    unique = list(dict.fromkeys(names))
    note(left_out, f"repeated {what}", len(names) - len(unique))
    return unique


def note(left_out: dict[str, int] | None, reason: str, count: int, line: str = "") -> None:
    """Count what is left out, for the manifest, and say it at once. line: instead of a sentence of the reason."""
    if not count:
        return
    if left_out is not None:
        left_out[reason] = left_out.get(reason, 0) + count
    say(line or f"{count:,} {reason} are left out")


def reported(left_out: Mapping[str, int]) -> str:
    """What was left out, for a report."""
    return "; ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "nothing"


def shown(names: Sequence[str], most: int = 3) -> str:
    """The first few names."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
