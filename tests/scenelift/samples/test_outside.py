"""A class from outside is a data set, or it is one line of what it lacks."""

from pathlib import Path

import pytest

from scenelift.errors import ConfigError, DataError
from scenelift.samples.outside import open_source

CODE = """
from scenelift.errors import DataError
from scenelift.samples.vocabulary import Vocabulary

class Mine:
    def __init__(self, root, version):
        self.name, self.version, self.root = "mine", version, root
        self.vocabulary = Vocabulary("one", ("car",), (("car",),), ((0, 0, 0),))
    def list_samples(self, split): return []
    def read(self, sample, options): raise DataError

class OneArgument(Mine):
    def __init__(self, root): super().__init__(root, "1")

class Nameless(Mine):
    def __init__(self, root, version):
        super().__init__(root, version)
        del self.name

class Wordless(Mine):
    def __init__(self, root, version):
        super().__init__(root, version)
        self.vocabulary = ["car"]

class Refusing(Mine):
    def __init__(self, root, version): raise DataError(f"{root} is empty")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    (tmp_path / f"{tmp_path.name}_source.py".replace("-", "_")).write_text(CODE)
    return str(next(tmp_path.glob("*.py")))


def test_a_source_is_opened_with_root_and_version(file: str) -> None:
    source = open_source(f"{file}:Mine", Path("/data"), "2")
    assert (source.name, source.version, source.list_samples(None)) == ("mine", "2", [])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("OneArgument", "called with the root and the version, raises TypeError"),
        ("Nameless", "has no name; docs/your_own_data.md shows a whole one"),
        ("Wordless", "its vocabulary is a list, not a scenelift.samples.vocabulary.Vocabulary"),
        ("Vocabulary", "has no list_samples, read, which it needs"),
    ],
)
def test_what_is_no_source_is_refused_in_one_line(name: str, says: str, file: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        open_source(f"{file}:{name}", Path("/data"), "2")
    assert "\n" not in str(caught.value)


def test_what_a_source_itself_refuses_is_told_as_it_is(file: str) -> None:
    with pytest.raises(DataError, match=r"^/data is empty$"):
        open_source(f"{file}:Refusing", Path("/data"), "2")
