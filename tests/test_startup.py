"""A command that has nothing to compute answers without loading what it would compute with."""

import pytest

from benchmarks.startup import COMMANDS, cases, start

pytestmark = pytest.mark.slow  # each starts a process

ASKED = [
    (name, case) for name in COMMANDS for case in cases(name) if case == "wrong path" or "distill" in name
]


@pytest.mark.parametrize(("name", "case"), ASKED)
def test_what_can_be_answered_at_once_loads_nothing_heavy(name, case):
    found = start(name, cases(name)[case])
    assert not found.heavy and found.ours <= 60, found
    if case == "--help":
        assert found.status == 0 and "--loop.epochs" in found.said
    else:
        assert found.status == 1 and found.said.startswith("error: ") and found.said.count("\n") == 1
