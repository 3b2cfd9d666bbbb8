"""Training of the tiny teacher: regions are pooled where they are, captions match fairly, and it learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from scenelift.errors import ConfigError, DataError
from scenelift.samples.vocabulary import prompt_templates
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.tiny import TinyModel, TinyTokenizer, build_tiny, load_tiny
from trainables.teacher import run as teacher
from trainables.teacher.config import TeacherTraining
from trainables.teacher.regions import (
    NAMES,
    RegionImage,
    augment,
    caption,
    draw_batch,
    patch_shares,
    read_regions,
    sentences,
    split_by_scene,
)

COLORS = {"car": (200, 30, 30), "driveable_surface": (90, 90, 90), "vegetation": (20, 140, 30)}


def painted(seed: int, size: tuple[int, int] = (32, 48)) -> RegionImage:
    """An image of color patches, each a region of the class that has the color."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    boxes, names = [], []
    for row in range(0, size[0], 16):
        for col in range(0, size[1], 16):
            name = str(rng.choice(list(COLORS)))
            pixels[row : row + 16, col : col + 16] = np.array(COLORS[name]) + rng.integers(-15, 15, 3)
            boxes.append([row, col, row + 16, col + 16])
            names.append((name,))
    return RegionImage(f"scene-{4001 + seed // 2}", pixels, np.array(boxes, np.float32), tuple(names))


def write_world(root: Path, scenes: int, size: tuple[int, int] = (112, 192)) -> None:
    """The files that training reads, two images a scene."""
    tables: dict[str, list[dict[str, str]]] = {"scene": [], "sample": [], "sample_data": []}
    regions = {}
    (root / "v1.1-synthetic").mkdir(parents=True)
    for number in range(2 * scenes):
        image, file = painted(number, size), f"samples/CAM_FRONT/{number:03d}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.pixels).save(root / file)
        tables["sample"].append({"token": f"s{number}", "scene_token": image.scene})
        tables["sample_data"].append({"filename": file, "sample_token": f"s{number}"})
        pairs = zip(image.boxes.astype(int).tolist(), image.names, strict=True)
        regions[file] = [[*box, list(names)] for box, names in pairs]
        tables["scene"].append({"token": image.scene, "name": image.scene})
    for name, rows in tables.items():
        (root / "v1.1-synthetic" / f"{name}.json").write_text(json.dumps(rows))
    (root / "v1.1-synthetic" / "regions.json").write_text(json.dumps(regions))


def test_patch_shares_equal_the_count_of_pixels() -> None:
    rng = np.random.default_rng(0)
    corners = [np.sort(rng.choice(25, 2, replace=False)) for _ in range(40)]
    boxes = torch.tensor([[a[0], b[0], a[1], b[1]] for a, b in zip(corners[:20], corners[20:], strict=True)])
    shares = patch_shares(boxes.float(), (3, 4), (8, 8))
    for box, share in zip(boxes.tolist(), shares, strict=True):
        inside = np.zeros((24, 32))
        inside[box[0] : box[2], box[1] : box[3]] = 1
        counted = inside.reshape(3, 8, 4, 8).sum((1, 3))
        np.testing.assert_allclose(share.reshape(3, 4), counted / counted.sum(), atol=1e-6)


def test_mirrored_images_keep_their_regions() -> None:
    image = painted(0)
    mirrored = 0
    for seed in range(20):
        again = augment(image, np.random.default_rng(seed))
        mirrored += not np.array_equal(again.boxes, image.boxes)
        for (row0, col0, row1, col1), names in zip(again.boxes.astype(int), again.names, strict=True):
            mean = again.pixels[row0:row1, col0:col1].mean((0, 1))
            assert mean.argmax() == np.argmax(COLORS[names[0]]) or names == ("driveable_surface",)
    assert 3 < mirrored < 17


def test_contrastive_loss_equals_the_sum_written_out() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(6, 5), torch.tensor([0, 1, 1, 2, 0, 1])
    to_text = np.mean([-F.log_softmax(logits[r], 0)[target[r]] for r in range(6)])
    to_region = [
        np.mean([-F.log_softmax(logits[:, u], 0)[r] for r in range(6) if target[r] == u]) for u in range(3)
    ]
    expected = (to_text + np.mean(to_region)) / 2
    assert teacher.contrastive_loss(logits, target).item() == pytest.approx(expected, abs=1e-5)


def test_captions_are_distinct_and_name_the_regions() -> None:
    names = [("car",), ("car", "driveable_surface"), ("car",), ("terrain",)]
    seen = set()
    for seed in range(30):
        captions, target = caption(names, np.random.default_rng(seed))
        assert len(set(captions)) == len(captions) and target == [0, 1, 0, 2]
        assert " and " in captions[1] and " and " not in captions[0]
        assert len(captions) == 3 + (len(NAMES.classes) - 2) + 4
        seen.add(captions[2])
    words = NAMES.words[NAMES.classes.index("terrain")]
    assert seen == {template.format(word) for template in prompt_templates()["tiny"] for word in words}


def test_the_tokenizer_knows_the_classes_of_every_data_set() -> None:
    text = (
        "barrier, bicycle, bus, car, construction vehicle, motorcycle, pedestrian, traffic_cone, trailer, "
        "truck, driveable surface, other_flat, sidewalk, terrain, manmade, vegetation, wall, floor, cabinet, "
        "bed, chair, sofa, table, door, window, bookshelf, picture, counter, desk, curtain, refrigerator, "
        "shower curtain, toilet, sink, bathtub, other furniture, other vehicle, person, bicyclist, "
        "motorcyclist, road, parking, other ground, building, fence, trunk, pole, traffic sign"
    )
    model = TinyModel.of(sentences())
    tokenize = TinyTokenizer(model)
    for word in text.split(", "):
        for template in (*prompt_templates()["tiny"], *prompt_templates()["plain"]):
            assert tokenize([template.format(word)]).max() == len(model.ids) - 1


def test_a_batch_takes_every_region_before_it_repeats_one() -> None:
    images = [painted(seed) for seed in range(3)]
    batch = draw_batch(images, 2, 8, np.random.default_rng(0))
    assert batch.images.shape == (2, 3, 32, 48) and batch.boxes.shape == (2, 8, 4) and len(batch.names) == 16
    for boxes in batch.boxes:
        assert len({tuple(box) for box in boxes.tolist()}) == 6
    few = draw_batch(images, 3, 4, np.random.default_rng(0))
    assert all(len({tuple(box) for box in boxes.tolist()}) == 4 for boxes in few.boxes)


@pytest.mark.slow
def test_training_on_a_dozen_images_learns_their_regions() -> None:
    model = TinyModel.of(
        sentences(), image_size=(32, 48), patch=(8, 8), width=64, text_width=64, embedding=64
    )
    torch.manual_seed(0)
    clip = build_tiny(model)
    config = TeacherTraining(steps=80, regions=6, warmup=5)
    losses = teacher.train(clip, model, [painted(seed) for seed in range(12)], config)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    batch = draw_batch([painted(seed) for seed in range(100, 106)], 6, 6, np.random.default_rng(1))
    with torch.no_grad():
        regions = teacher.region_features(clip, model, batch)
        prompts = [prompt_templates()["tiny"][0].format(words[0]) for words in NAMES.words]
        texts = clip.encode_text(TinyTokenizer(model)(prompts))
    truth = torch.tensor([NAMES.classes.index(names[0]) for names in batch.names])
    assert ((regions @ texts.T).argmax(1) == truth).float().mean() > 0.7


@pytest.mark.slow
def test_the_command_writes_a_teacher_that_says_where_it_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path / "world", scenes=4)
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        config = TeacherTraining(
            root=tmp_path / "world", out=file, steps=2, images=2, regions=4, held_out=0.25, threads=1
        )
        result = teacher.run(config)
    assert str(files[1]) in capsys.readouterr().out
    first, second = (load_tiny(file)[0].state_dict() for file in files)
    assert all(torch.equal(first[name], second[name]) for name in first)
    provenance = json.loads(load_tiny(files[1])[1].provenance)
    assert provenance == result and provenance["config"]["seed"] == 0
    assert provenance["images"] == 6 and provenance["held_out"]["images"] == 2
    assert 0 <= provenance["held_out"]["accuracy"] <= 1
    assert str(tmp_path) not in json.dumps(provenance)


def test_held_out_scenes_are_the_last_and_never_seen() -> None:
    images = [painted(seed) for seed in range(20)]
    train, test = split_by_scene(images, 0.2)
    assert {image.scene for image in test} == {"scene-4009", "scene-4010"}
    assert len(train) == 16 and not {image.scene for image in train} & {image.scene for image in test}
    with pytest.raises(DataError, match="more scenes"):
        split_by_scene(images[:2], 0.2)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"python -m datasets\.synthetic teacher"):
        read_regions(tmp_path, "v1.1-synthetic", (112, 192))
    write_world(tmp_path / "small", scenes=1, size=(32, 48))
    with pytest.raises(DataError, match="112 x 192"):
        read_regions(tmp_path / "small", "v1.1-synthetic", (112, 192))
    with pytest.raises(ConfigError, match="steps"):
        TeacherTraining(steps=0)


def test_the_shipped_teacher_is_small_knows_the_classes_and_says_where_it_came_from() -> None:
    path = Path(teacher.__file__).parents[1] / "weights" / "tiny_clip.safetensors"
    assert path.stat().st_size < 5e6
    provenance = json.loads(load_tiny(path)[1].provenance)
    assert provenance["command"].startswith("python -m trainables.teacher") and provenance["seconds"] > 0
    assert provenance["held_out"]["accuracy"] > 0.8
    shipped = build_teacher(TeacherConfig(weights=str(path)), NAMES)
    learnt = shipped.text[[name in provenance["held_out"] for name in NAMES.classes]]
    assert (learnt @ learnt.T - torch.eye(len(learnt))).max() < 0.95, "no two classes mean the same"
