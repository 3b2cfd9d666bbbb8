"""Protects the readers of ScanRefer, Nr3D and Sr3D, on real rows and on broken ones, and the rule for keywords."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from datasets.grounding import keywords, sentences
from datasets.grounding.classes import CLASSES, OTHERS, ClassMap, to_classes
from datasets.grounding.proposals import certain
from datasets.grounding.sentences import Annotation, Stimulus
from scenelift.errors import DataError


@pytest.fixture
def referit3d(real_data: Path) -> Path:
    return real_data / "referit3d"


@pytest.fixture
def class_map(real_data: Path) -> ClassMap:
    return ClassMap.read(real_data / "scannet/meta/scannetv2-labels.combined.tsv")


@pytest.mark.parametrize("corpus", ["nr3d", "sr3d"])
def test_every_real_row_is_read_as_it_stands(referit3d: Path, corpus: str) -> None:
    path = referit3d / f"{corpus}_sample60.csv"
    found = sentences.READERS[corpus](path)
    rows = list(csv.DictReader(path.open()))
    assert len(found) == len(rows) == 60
    for one, row in zip(found, rows, strict=True):
        scene, label, count, target, *others = row["stimulus_id"].split("-")
        assert (one.scene, one.object, one.alike) == (row["scan_id"], int(row["target_id"]), 1 + len(others))
        assert (scene, int(target), int(count)) == (one.scene, one.object, one.alike)
        distractors = Stimulus.parse(one.stimulus).distractors
        assert list(distractors) == json.loads(row.get("distractor_ids", f"[{','.join(others)}]"))
        assert one.text == row["utterance"] and one.number == str(found.index(one))
        assert one.name == row["instance_type"] == label.replace("_", " ")
        assert list(one.tokens) == [token.strip("'\"") for token in row["tokens"][1:-1].split(", ")]
        assert one.hard == (int(count) > 2)
        words = {
            "front",
            "behind",
            "back",
            "right",
            "left",
            "facing",
            "leftmost",
            "rightmost",
            "looking",
            "across",
        }
        assert one.view_dependent == any(token in words for token in one.tokens)
        assert one.mentions_class == (row["mentions_target_class"] == "True")


def test_some_real_rows_by_hand(referit3d: Path) -> None:
    nr3d = {one.stimulus: one for one in sentences.read_nr3d(referit3d / "nr3d_sample60.csv")}
    pillow = nr3d["scene0203_00-pillow-4-15-14-17-25"]
    assert pillow.hard and not pillow.view_dependent and pillow.text.startswith("the blue pillow on top")
    window = nr3d["scene0645_00-window-2-55-42"]
    assert not window.hard and window.view_dependent
    cabinet = nr3d["scene0653_00-file_cabinet-6-44-0-1-27-30-39"]
    assert (cabinet.name, cabinet.object, cabinet.alike) == ("file cabinet", 44, 6)


def test_real_lists_and_bad_contexts(referit3d: Path) -> None:
    train, test = (sentences.read_scans(referit3d / f"{split}_scans.txt") for split in ("train", "test"))
    assert (len(train), len(test)) == (511, 130) and not train & test
    bad = sentences.bad_contexts(referit3d / "manually_inspected_bad_contexts.csv")
    assert "scene0515_00-recycling_bin-2-41-40" in bad and len(bad) == 269, (
        "one of 270 lines stands there twice"
    )
    found = sentences.read_nr3d(referit3d / "nr3d_sample60.csv")
    assert sentences.without(found, bad) == [one for one in found if one.stimulus not in bad]
    assert sentences.without(found, frozenset({found[3].stimulus})) == found[:3] + found[4:]


def test_rescans_that_a_list_leaves_out_are_said(
    referit3d: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than half of Sr3D's rows are about scans that ReferIt3D's lists, made for Nr3D, do not have."""
    found = sentences.read_sr3d(referit3d / "sr3d_sample60.csv")
    kept = sentences.in_scans(found, referit3d / "test_scans.txt")
    assert len(kept) == 28 and all(one.scene.endswith("_00") for one in kept)
    assert "32 sentences are left out" in capsys.readouterr().err
    (tmp_path / "scannetv2_test.txt").write_text("\n".join({one.scene for one in found}))
    assert sentences.in_scans(found, tmp_path / "scannetv2_test.txt") == found
    nr3d = sentences.read_nr3d(referit3d / "nr3d_sample60.csv")
    assert sentences.in_scans(nr3d, referit3d / "test_scans.txt") == nr3d
    assert not sentences.in_scans(nr3d, referit3d / "train_scans.txt") and not capsys.readouterr().err


def test_a_stimulus_that_contradicts_itself_is_refused() -> None:
    assert Stimulus.parse("scene0000_00-trash_can-1-7") == Stimulus("scene0000_00", "trash can", 1, 7, ())
    for text in ("scene0000_00-chair", "scene0000_00-chair-2-a-3", "scene0000_00-chair-3-1-2", ""):
        with pytest.raises(DataError, match="stimulus"):
            Stimulus.parse(text)


def test_listeners_leave_out_what_referit3d_leaves_out() -> None:
    def one(**changes: object) -> Annotation:
        values = {
            "scene": "s",
            "object": 1,
            "name": "chair",
            "number": "0",
            "text": "",
            "tokens": ("a",),
            "alike": 2,
        }
        return Annotation(**{**values, **changes})  # type: ignore[arg-type]

    left_out = [one(name="clothes"), one(tokens=("a",) * 25), one(mentions_class=False)]
    alone = one(alike=1)
    assert sentences.listener_filter([one(), alone, *left_out], test=True) == [one()]
    assert sentences.listener_filter([one(), alone, *left_out], test=False) == [one(), alone]


def test_scanrefer_is_read_with_and_without_its_tokens(tmp_path: Path) -> None:
    row = {"scene_id": "scene0040_00", "object_id": "13", "object_name": "dining_table", "ann_id": "2"}
    rows = [
        {**row, "description": "A round Table.", "token": ["a", "round", "table", "."]},
        {**row, "description": "It's a 2nd, Table!"},
    ]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    first, second = sentences.read_scanrefer(tmp_path / "s.json")
    assert (first.name, first.object, first.number, first.tokens[1]) == ("dining table", 13, "2", "round")
    assert second.tokens == ("it's", "a", "2", "nd", ",", "table", "!") and second.hard is None


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"scene_id": "scene0000_00"}]')
    (tmp_path / "a.csv").write_text("stimulus_id,utterance\nscene0000_00-chair-2-1-3,hello\n")
    head = "stimulus_id,scan_id,target_id,instance_type,utterance,tokens,mentions_target_class\n"
    wrong = "scene0000_00-chair-2-1-3,scene0000_00,4,chair,hi,\"['hi']\",True\n"
    (tmp_path / "b.csv").write_text(head + wrong)
    for read, name, message in (
        (sentences.read_scanrefer, "a.json", "not a ScanRefer file"),
        (sentences.read_scanrefer, "none.json", "no .*none.json"),
        (sentences.read_nr3d, "a.csv", "row 1 .* not Nr3D's"),
        (sentences.read_sr3d, "b.csv", "row 1 .*is not object 4"),
        (sentences.read_sr3d, "none.csv", "no .*none.csv"),
        (sentences.bad_contexts, "a.csv", "begins with"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("this is a red chair . it is next to the table .", "red table"),
        ("the large round table under the small window.", "large round window small"),
        ("it is brown . the brown one is left of the black desk", "brown desk"),
        ("the chair is between the bed and the lamp , it is wooden", "bed lamp wooden"),
        ("facing the bed, the chair is to the left of it", "bed left"),
        ("the pillow on top of the chair that is red", "top chair red"),
        ("there is a bed in the corner of the room", "corner room"),
        ("when facing the two doors the backpack on the left", "doors left"),
    ],
)
def test_keywords_are_attributes_and_anchors(text: str, marked: str) -> None:
    tokens = keywords.tokenize(text)
    mask = keywords.keyword_mask(tokens)
    assert {token for token, flag in zip(tokens, mask, strict=True) if flag} == set(marked.split())


def test_attributes_are_those_of_the_first_sentence_alone() -> None:
    tokens = keywords.tokenize("a red chair . a blue table is near it .")
    assert keywords.attributes(tokens).nonzero()[0].tolist() == [1]
    assert not keywords.keyword_mask(tokens, adjectives=False)[1]


def test_classes_of_names(class_map: ClassMap) -> None:
    for name, wanted in {
        "chair": "chair",
        "dining_table": "table",
        "kitchen counter": "counter",
        "refrigerator": "refrigerator",
        "flying wooden bookshelf": "bookshelf",
        "zeppelin": "others",
        "": "others",
    }.items():
        assert CLASSES[class_map.category(name)] == wanted, name


def test_the_benchmarks_map_differs_by_the_tables_misspelling_alone(class_map: ClassMap) -> None:
    """On ScanNet's real table."""
    number, benchmark = class_map.number, class_map.benchmark
    different = {raw for raw in number if number[raw] != benchmark[raw]}
    assert different == {"refrigerator", "mini fridge", "cooler"}
    assert {benchmark[raw] for raw in different} == {OTHERS}
    assert class_map.annotated("refrigerator") == class_map.for_unique("mini_fridge") == OTHERS
    assert class_map.annotated("old wooden chair") == CLASSES.index("chair")
    assert class_map.for_unique("old wooden chair") == OTHERS, "no last word here"


def test_classes_of_other_networks_become_ours_by_name() -> None:
    logits = np.array([[1.0, 5, 2, 3]], np.float32)
    found = to_classes(logits, ("chair", "refridgerator", "wall", "lamp"))[0]
    assert found[CLASSES.index("chair")] == 1 and found[CLASSES.index("refrigerator")] == 5
    assert found[CLASSES.index("others")] == 3 and found[CLASSES.index("bed")] == 1
    sure = certain(np.array([3]), np.array([0.9], np.float32))[0]
    assert np.exp(sure[3]) / np.exp(sure).sum() == pytest.approx(0.9, abs=1e-5)


def test_head_nouns(class_map: ClassMap) -> None:
    for text, wanted, place in (
        ("this is a red chair next to the table", "chair", 4),
        ("the trash can under the desk", "others", 2),
        ("facing the bed , the chairs on the left", "chair", 5),
        ("on the desk", "desk", 2),
        ("it is over there", None, -1),
    ):
        tokens = keywords.tokenize(text)
        number, head = class_map.noun(tokens, keywords.anchors(tokens))
        assert (None if number < 0 else CLASSES[number], head) == (wanted, place), text


def test_the_rule_finds_what_real_sentences_are_about(referit3d: Path, class_map: ClassMap) -> None:
    for corpus, least in (("nr3d", 0.8), ("sr3d", 1.0)):
        found = sentences.READERS[corpus](referit3d / f"{corpus}_sample60.csv")
        right = [
            class_map.noun(one.tokens, keywords.anchors(one.tokens))[0] == class_map.category(one.name)
            for one in found
        ]
        assert np.mean(right) >= least, corpus


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("raw_category\tnyu40id\nchair\t5\n")
    with pytest.raises(DataError, match="not ScanNet's label table"):
        ClassMap.read(tmp_path / "t.tsv")
    with pytest.raises(DataError, match="put ScanNet's label table there"):
        ClassMap.read(tmp_path / "none.tsv")
    assert OTHERS == 17 and len(CLASSES) == 18
