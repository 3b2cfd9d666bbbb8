"""Scans are sorted by their scores, which are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenelift.viewer.answers import Answers
from scenelift.viewer.explorer import Explorer
from scenelift.viewer.ranking import Ranking
from tests.scenelift.viewer.conftest import MadeUpScans


def test_the_worst_scans_come_first_and_are_not_scored_again(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranking, told = Ranking(explorer, str(tmp_path)), []
    assert ranking.order("error") == [0, 1, 2, 3] and not ranking.done
    ranking.start(lambda done, total: told.append((done, total)))
    ranking.stop()
    ranking.compute()
    assert ranking.done and told == sorted(told)
    errors = []
    for index in range(4):
        view = explorer.view(index)
        judged, wrong = explorer.wrong(view, "student")
        errors.append(wrong.sum() / judged.sum())
    assert ranking.order("error") == sorted(range(4), key=lambda index: -errors[index])
    disagreement = [ranking.scores[index].disagreement or 0 for index in range(4)]
    assert ranking.order("disagreement") == sorted(range(4), key=lambda index: -disagreement[index])
    again = Ranking(explorer, str(tmp_path))
    monkeypatch.setattr(MadeUpScans, "read", lambda *_: pytest.fail("scored again"))
    again.compute()
    assert again.scores == ranking.scores
    alone = Explorer(MadeUpScans(), Answers({"student": explorer.answers.students["student"]}))
    assert Ranking(alone, str(tmp_path)).scores == {}, "another student, or none, has scores of its own"


def test_a_damaged_file_of_scores_is_made_again(explorer: Explorer, tmp_path: Path) -> None:
    path = Ranking(explorer, str(tmp_path)).path
    path.write_text('{"0": 3}')
    assert Ranking(explorer, str(tmp_path)).scores == {}
