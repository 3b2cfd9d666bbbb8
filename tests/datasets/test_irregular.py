"""Protects users of real data: what public data sets and people's editors really write is read, and counted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import BottomUpFolder, read_classes
from datasets.flickr30k.source import Flickr30k
from datasets.grounding.config import RoomOptions
from datasets.grounding.sentences import bad_contexts, read_nr3d, read_scanrefer, read_scans
from datasets.grounding.source import Grounding
from datasets.scannet.source import ScanNet
from datasets.synthetic_rooms.config import PRESETS
from datasets.synthetic_rooms.write import generate
from scenelift.errors import DataError, FrameError
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from tests.made import scannet_tree
from tests.made.kitti_tree import KittiTree
from tests.made.nuscenes_tree import NATIVE, VERSION, Tree
from tests.made.phrase_tree import CLASSES, write_flickr30k
from tests.made.scannet_tree import ScanNetTree, ply

BOM = b"\xef\xbb\xbf"
SCENE = scannet_tree.SCENES[0]
ROOM_OPTIONS = ReadOptions(image_size=(24, 32))
MAC = b"\x00\x05\x16\x07 made by macOS"


def as_people_save(path: Path) -> None:
    """With a byte-order mark and Windows' line ends."""
    path.write_bytes(BOM + path.read_bytes().replace(b"\n", b"\r\n"))


def left_out(kind, source, sample, options) -> dict[str, int]:
    """What a manifest of this one sample says."""
    summary = kind.summarize([sample], source)
    return kind.describe([summary], source, options)["left_out"]


@pytest.fixture
def scannet(tmp_path: Path) -> ScanNetTree:
    return ScanNetTree(tmp_path)


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    config = replace(PRESETS["tiny"], out=tmp_path / "world", train=2, val=1)
    generate(config)
    return config.out


# What data sets have


@pytest.mark.parametrize("number", [50, 149])
def test_labels_of_scannet_that_are_no_nyu40_are_ignored_and_counted(
    scannet: ScanNetTree, number: int
) -> None:
    before = scannet.source().read(scannet.source().list_samples()[0], ROOM_OPTIONS)
    raw = np.zeros(400, int)
    raw[:60] = 5
    raw[:7] = number
    points, colors = before.points, np.rint((before.features + 1) * 127.5)
    path = scannet.root / f"scans/{SCENE}/{SCENE}_vh_clean_2.labels.ply"
    path.write_bytes(ply(points, colors, raw))
    source = scannet.source()
    frame = source.read(source.list_samples()[0], ROOM_OPTIONS)
    assert not frame.labels[:7].any() and frame.labels[7:60].all()
    assert left_out(FRAME, source, frame, ROOM_OPTIONS)["labels that are no NYU40 ids"] == 7


@pytest.mark.parametrize("lost", ["0 " * 16, "nan " * 16, "-inf " * 16])
def test_photos_without_a_pose_are_left_out_and_counted(scannet: ScanNetTree, lost: str) -> None:
    (scannet.root / f"scannet_frames_25k/{SCENE}/pose/000200.txt").write_text(lost)
    source = scannet.source()
    frame = source.read(source.list_samples()[0], ROOM_OPTIONS)
    assert len(frame.images) == 2
    assert left_out(FRAME, source, frame, ROOM_OPTIONS)["photos without a pose"] == 2


def test_scenes_that_a_list_names_and_the_tree_lacks_are_counted_and_said(
    scannet: ScanNetTree, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scannet.source()
    assert len(source.list_samples("train")) == 2
    assert source.left_out == {"scenes of scannetv2_train.txt that are not in the tree": 1}
    assert "scene0099_00" in capsys.readouterr().err
    source.list_samples("val")
    assert not source.left_out


def test_scenes_of_an_official_split_that_a_tree_lacks_are_counted(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "nuscenes")
    tree.write()
    source = tree.source()
    source.list_samples("val")
    assert source.left_out == {"scenes of val that are not in the tree": 149}
    kitti = KittiTree(tmp_path / "kitti").source()
    kitti.list_samples("train")
    assert kitti.left_out == {"sequences of train that are not in the tree": 9}


def test_panoptic_nuscenes_alone_has_the_same_labels_as_lidarseg(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write()
    wanted = [tree.source().read(key, NATIVE).labels for key in tree.source().list_samples()]
    rng, rows = np.random.default_rng(0), []
    for row in tree.rows["lidarseg"]:
        name = f"panoptic/{VERSION}/{row['token']}_panoptic.npz"
        raw = np.fromfile(tmp_path / row["filename"], np.uint8)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            tmp_path / name, data=(raw.astype(int) * 1000 + rng.integers(0, 9, len(raw))).astype(np.uint16)
        )
        rows.append({**row, "filename": name})
    (tree.tables / "lidarseg.json").unlink()
    (tree.tables / "panoptic.json").write_text(json.dumps(rows))
    found = [tree.source().read(key, NATIVE).labels for key in tree.source().list_samples()]
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_label_files_without_their_table_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = Tree(tmp_path)
    tree.write()
    (tree.tables / "lidarseg.json").unlink()
    assert tree.source().read(tree.first(), NATIVE).labels is None
    assert "no lidarseg.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "table", ["scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor"]
)
def test_a_row_that_is_there_twice_counts_once(tmp_path: Path, table: str) -> None:
    tree = Tree(tmp_path)
    tree.write()
    wanted = [key.token for key in tree.source().list_samples()]
    path = tree.tables / f"{table}.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([*rows, rows[0]]))
    assert [key.token for key in tree.source().list_samples()] == wanted
    other = {name: "other" if name == "name" else value for name, value in rows[0].items()}
    for name in ("timestamp", "translation", "channel"):
        if name in other:
            other[name] = {"timestamp": 5, "translation": [9.0, 9.0, 9.0], "channel": "OTHER"}[name]
    path.write_text(json.dumps([*rows, other]))
    with pytest.raises(DataError, match=f"{table}.json has two different rows"):
        tree.source().list_samples()


def test_repeated_images_and_sentences_count_once(tmp_path: Path, rooms: Path) -> None:
    source = write_flickr30k(tmp_path / "flickr", {"train": ["1", "2"]})
    (tmp_path / "flickr/train.txt").write_text("1\n2\n1\n")
    assert [key.token for key in source.list_samples("train")] == ["1", "2"]
    assert source.left_out == {"repeated images of train.txt": 1}
    path = rooms / "ScanRefer_filtered_train.json"
    rows = json.loads(path.read_text())
    again = {**rows[0], "description": "it is another one .", "token": ["it", "is", "another", "one", "."]}
    path.write_text(json.dumps([*rows, rows[0], again]))
    corpus = Grounding(rooms)
    keys = [one for key in corpus.list_samples("train") for one in key.annotations]
    assert len(keys) == len(rows) + 1 and sum(corpus.left_out.values()) == 1
    assert len({(one.scene, one.object, one.number) for one in keys}) == len(keys)


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((11, 21, 11, 41), (10, 20, 11, 40)),
        ((11, 21, 31, 21), (10, 20, 30, 21)),
        ((31, 41, 11, 21), (10, 20, 30, 40)),
        ((100, 80, 100, 80), (99, 79, 100, 80)),
    ],
)
def test_boxes_of_one_pixel_and_swapped_ones_keep_their_phrase(tmp_path: Path, box, wanted) -> None:
    source = write_flickr30k(tmp_path / "flickr", {"train": ["1"]}, box)
    image = CAPTIONED_IMAGE.read(source, source.list_samples("train")[0], CaptionOptions())
    assert image.phrases[0].box == wanted


def test_a_phrase_whose_box_is_outside_of_the_image_is_counted(tmp_path: Path) -> None:
    source = write_flickr30k(tmp_path / "flickr", {"train": ["1"]}, (301, 21, 331, 41))
    image = CAPTIONED_IMAGE.read(source, source.list_samples("train")[0], CaptionOptions())
    assert image.phrases[0].box is None
    counted = left_out(CAPTIONED_IMAGE, source, image, CaptionOptions())
    assert counted == {"boxes of phrases outside of their image": 1}


# What people's editors and systems make of files


def test_text_with_a_byte_order_mark_and_windows_line_ends_is_the_same(tmp_path: Path, rooms: Path) -> None:
    kitti, scannet, nuscenes = (tmp_path / name for name in ("kitti", "scannet", "nuscenes"))
    tree = Tree(nuscenes)
    tree.write()
    (tree.tables / "splits.json").write_text('{"mine": ["scene-0061"]}\n')
    flickr = write_flickr30k(tmp_path / "flickr", {"train": ["1"]})
    (flickr.root / "classes.txt").write_text("man, guy\ndog\n")

    def read() -> list:
        frames = [
            (source, source.list_samples(split), options)
            for source, split, options in (
                (KittiTree.source(kitti_tree), "val", ReadOptions(2, (37, 124))),
                (ScanNet(scannet), "val", ROOM_OPTIONS),
                (tree.source(), "mine", NATIVE),
            )
        ]
        rows = [FRAME.to_row(FRAME.read(source, keys[0], options)) for source, keys, options in frames]
        regions = BottomUpFolder(flickr.root / "regions", read_classes(flickr.root / "classes.txt"))
        photos = Flickr30k(flickr.root, regions)
        image = CAPTIONED_IMAGE.read(photos, photos.list_samples("train")[0], CaptionOptions())
        room = Grounding(rooms).list_samples("train")
        return [rows, CAPTIONED_IMAGE.to_row(image), room]

    kitti_tree = KittiTree(kitti)
    ScanNetTree(scannet)
    (kitti / "prompts.json").write_text('{"car": ["car", "van"]}\n')
    wanted = read()
    texts = [path for path in tmp_path.rglob("*") if path.suffix in (".txt", ".json", ".tsv", ".csv")]
    assert len(texts) > 40
    for path in texts:
        as_people_save(path)
    assert read() == wanted


def test_lists_and_matrices_may_have_commas(scannet: ScanNetTree) -> None:
    wanted = FRAME.to_row(scannet.source().read(scannet.source().list_samples("train")[0], ROOM_OPTIONS))
    path = scannet.root / "scannetv2_train.txt"
    path.write_text(path.read_text().replace("\n", ",\n"))
    for pose in (scannet.root / f"scannet_frames_25k/{SCENE}/pose").iterdir():
        pose.write_text(pose.read_text().replace(" ", ", "))
    assert (
        FRAME.to_row(scannet.source().read(scannet.source().list_samples("train")[0], ROOM_OPTIONS)) == wanted
    )


def test_sentences_of_spreadsheets(tmp_path: Path) -> None:
    head = "stimulus_id,scan_id,target_id,instance_type,utterance,tokens,mentions_target_class"
    row = "scene0000_00-chair-2-1-3,scene0000_00,1,chair,it is red,\"['it', 'is']\",True"
    path = tmp_path / "nr3d.csv"
    path.write_text(f"{head}\n{row}\n")
    wanted = read_nr3d(path)
    as_people_save(path)
    assert read_nr3d(path) == wanted
    path.write_text(f"{head}\n{row}\n".replace("', '", "'|'").replace(",", ";").replace("|", ","))
    assert read_nr3d(path) == wanted
    path.write_bytes(BOM + b"stimulus_id\r\nscene0000_00-chair-2-1-3,\r\n")
    assert bad_contexts(path) == {"scene0000_00-chair-2-1-3"}
    for text in (BOM + b'["a", "b"]', BOM + b"a,\r\nb,\r\n", b"a,b"):
        path.write_bytes(text)
        assert read_scans(path) == {"a", "b"}


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c", "\x1e"])
def test_other_line_marks_do_not_split_a_sentence(tmp_path: Path, mark: str) -> None:
    source = write_flickr30k(tmp_path / "flickr", {"train": ["1"]})
    path = tmp_path / "flickr/Sentences/1.txt"
    path.write_text(f"[/EN#1/people a man]{mark}waits .\n[/EN#1/people he] sits .\n", encoding="utf-8")
    image = source.read(source.list_samples("train")[0], CaptionOptions())
    assert len(image.sentences) == 2 and image.sentences[0] == "a man waits ."


def test_files_that_macos_puts_beside_others_are_not_read(tmp_path: Path, scannet: ScanNetTree) -> None:
    tree = KittiTree(tmp_path / "kitti")
    flickr = write_flickr30k(tmp_path / "flickr", {"train": ["1"]})
    sources = [tree.source(), scannet.source(), flickr]
    wanted = [[key.token for key in source.list_samples(None)] for source in sources]
    for path in [path for path in tmp_path.rglob("*") if path.name[:1] != "."]:
        hidden = path.with_name(f"._{path.name}")
        hidden.write_bytes(MAC)
    (tmp_path / "kitti/sequences/.08").mkdir()
    assert [[key.token for key in source.list_samples(None)] for source in sources] == wanted
    for source, options in zip(sources, (ReadOptions(), ROOM_OPTIONS, CaptionOptions()), strict=True):
        source.read(source.list_samples(None)[0], options)


def test_a_mesh_with_windows_line_ends_is_read(scannet: ScanNetTree) -> None:
    source = scannet.source()
    wanted = source.read(source.list_samples()[0], ROOM_OPTIONS).points
    path = scannet.root / f"scans/{SCENE}/{SCENE}_vh_clean_2.ply"
    head, end, body = path.read_bytes().partition(b"end_header\n")
    path.write_bytes((head + end).replace(b"\n", b"\r\n") + body)
    np.testing.assert_array_equal(source.read(source.list_samples()[0], ROOM_OPTIONS).points, wanted)


def test_an_object_that_is_listed_twice_has_both_parts(rooms: Path) -> None:
    path = next((rooms / "scans").glob("*/*.aggregation.json"))
    content = json.loads(path.read_text())
    first, *others = content["segGroups"]
    key = Grounding(rooms).list_samples("train")[0]
    wanted = Grounding(rooms).read(key, RoomOptions())
    content["segGroups"] = [first, *others, first]
    path.write_text(json.dumps(content))
    np.testing.assert_array_equal(Grounding(rooms).read(key, RoomOptions()).objects, wanted.objects)
    content["segGroups"][-1] = {**first, "label": "another"}
    path.write_text(json.dumps(content))
    with pytest.raises(FrameError, match=r"aggregation.json .* is both"):
        Grounding(rooms).read(key, RoomOptions())


def test_a_sentence_is_text(tmp_path: Path) -> None:
    row = {"scene_id": "s", "object_id": "1", "object_name": "chair", "ann_id": "0", "description": "it"}
    for wrong in (None, 5, ["it"]):
        (tmp_path / "a.json").write_text(json.dumps([{**row, "description": wrong}]))
        with pytest.raises(DataError, match="not a ScanRefer file"):
            read_scanrefer(tmp_path / "a.json")


def test_an_empty_name_in_a_class_list_names_nothing(tmp_path: Path) -> None:
    from datasets.captions.phrase_classes import PhraseClasses

    assert PhraseClasses(("man,", "dog"))("") == () and len(CLASSES) == 2
