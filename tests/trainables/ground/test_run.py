"""Protects visual grounding as a whole: it learns, it is saved and found again, and the job runs end to end."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.grounding.config import RoomOptions
from scenelift.errors import ConfigError, DataError, SceneliftError
from scenelift.evaluation.config import ValidationConfig
from scenelift.runs.config import DataConfig, RunConfig
from scenelift.runs.run import run
from scenelift.samples.room import ROOM, Room
from scenelift.shards.read import open_samples
from scenelift.shards.write import write_shards
from scenelift.train.config import LoopConfig
from scenelift.train.method import Progress
from tests.made.rooms import CLASSES, COLORS, FEATURES, MadeUpRooms, made_up_room
from trainables.ground import task as ground
from trainables.ground.batch import CollateRooms
from trainables.ground.config import (
    PRESETS,
    GroundConfig,
    GroundLoss,
    LexiconConfig,
    MethodConfig,
    NetworkConfig,
)
from trainables.ground.lexicon import SPECIAL, Lexicon, build_lexicon
from trainables.ground.method import Grounding
from trainables.ground.model import Attention, Grounder
from trainables.ground.pictures import draw, explain
from trainables.ground.scores import score

SMALL = NetworkConfig(
    width=32, heads=2, relation_layers=1, relations="pairwise", decoder_layers=1, causal=False
)
WORDS = dict.fromkeys(("the", ".", *COLORS, *CLASSES), 9)


def rooms(count: int, first: int = 0):
    return [made_up_room(f"room-{number}", 6, 6) for number in range(first, first + count)]


def made(method: MethodConfig = MethodConfig(), network: NetworkConfig = SMALL) -> Grounder:  # noqa: B008
    torch.manual_seed(0)
    return Grounder(network, method, build_lexicon(LexiconConfig(), WORDS), FEATURES, CLASSES)


@pytest.fixture(scope="module")
def trained() -> Grounder:
    """Without feature similarity the coarse stage knows classes alone: color comes by reconstruction."""
    method = MethodConfig(
        mil="off", candidates=6, hard_candidate_fraction=0.25, mask_keywords=True, mask_noun=True
    )
    student = made(method, replace(SMALL, sentence="mean"))
    training, seen = Grounding(student, GroundLoss()).train(), rooms(64)
    optimizer = torch.optim.AdamW(student.parameters(), 6e-3)
    collate = CollateRooms.of(student.words, method)
    for step in range(120):
        start = 8 * (step % 8)
        losses = training(collate(seen[start : start + 8]), Progress(step, step // 8, 15))
        optimizer.zero_grad()
        torch.stack([training.weights[name] * loss for name, loss in losses.items()]).sum().backward()
        optimizer.step()
    return student


def hits(student: Grounder, scored: list[Room]) -> dict[str, float]:
    """Guesser -> Acc@0.25 where a room has several things of the target's class."""
    found = score(student, scored, "detected")
    who = ("random", "coarse", "teacher", "student")
    return {name: found.sums[name, "acc25", "multiple"] / found.counts["multiple"] for name in who}


@pytest.mark.slow
def test_it_learns_to_tell_things_of_one_class_apart_by_a_color_that_nobody_labeled(trained):
    found = hits(trained, rooms(30, 1000))
    assert found["random"] < found["coarse"] < min(found["teacher"], found["student"]) - 0.15, found


@pytest.mark.slow
def test_colors_that_change_places_take_the_gain_away(trained):
    """The probe of ws3dvg.md 19: what was learned is color, and nothing else that correlates with the target."""
    changed = [
        dataclasses.replace(
            room, features=np.concatenate([room.features[:, :2], np.roll(room.features[:, 2:], 1, 1)], 1)
        )
        for room in rooms(30, 1000)
    ]
    found = hits(trained, changed)
    assert max(found["teacher"], found["student"]) < found["coarse"] + 0.05, found


def test_a_grounder_is_saved_and_found_again(tmp_path):
    student = made(MethodConfig(candidates=5))
    student.save(tmp_path)
    again = Grounder.load(tmp_path)
    batch = CollateRooms.of(student.words, student.method)(rooms(2))
    torch.testing.assert_close(again.scores(batch), student.eval().scores(batch))
    assert again.method == student.method and again.words == student.words and again.classes == CLASSES
    with pytest.raises(SceneliftError, match="does not hold a grounder"):
        Grounder.load(tmp_path / "nowhere")
    description = (tmp_path / "grounder.json").read_text()
    (tmp_path / "grounder.json").write_text(description.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(SceneliftError, match="schema version 2, this one reads 1"):
        Grounder.load(tmp_path)


def test_words_of_the_tiny_teacher_have_vectors_of_their_own():
    lexicon = build_lexicon(LexiconConfig(), {**WORDS, "zeppelin": 1})
    assert lexicon.words[-1] == "zeppelin" and len(lexicon.vectors) == SPECIAL + len(lexicon.words)
    apart = torch.cdist(lexicon.vectors, lexicon.vectors) + torch.eye(len(lexicon.vectors))
    assert apart[SPECIAL:, SPECIAL:].min() > 0.5 and lexicon.vectors[:SPECIAL].abs().sum() == 0
    known = lexicon.words.index("chair") + SPECIAL
    unknown = lexicon.words.index("zeppelin") + SPECIAL
    assert lexicon.vectors[known, :64].abs().sum() > 0 and lexicon.vectors[unknown, :64].abs().sum() == 0
    again = build_lexicon(LexiconConfig(), {**WORDS, "zeppelin": 1})
    assert torch.equal(again.vectors, lexicon.vectors)
    assert build_lexicon(LexiconConfig(min_count=5), {**WORDS, "zeppelin": 1}).words == lexicon.words[:-1]


def test_words_of_glove_are_those_of_its_file(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("red 1 2 3\nunk 9 9 9\nchair -1 0 1.5\nother 0 0 0\nchair . . 0 0 0\n")
    lexicon = build_lexicon(LexiconConfig(glove=path), WORDS)
    assert lexicon.words == ("chair", "red")
    assert lexicon.vectors.tolist() == [[0, 0, 0], [9, 9, 9], [-1, 0, 1.5], [1, 2, 3]]
    path.write_text("word 1 2\n")
    other = tmp_path / "other.txt"
    other.write_text("red 1 2\nchair 1\n")
    for config, message in (
        (LexiconConfig(glove=path), "none of the words"),
        (LexiconConfig(glove=other), "vectors of several lengths"),
        (LexiconConfig(glove=tmp_path / "none.txt"), "give a GloVe file"),
        (LexiconConfig(min_count=99), "write --lexicon.min_count 1"),
    ):
        with pytest.raises(DataError, match=message):
            build_lexicon(config, WORDS)


def test_settings_that_cannot_be_are_refused():
    for make, message in (
        (lambda: MethodConfig(candidates=0), "candidates must be at least 1"),
        (lambda: MethodConfig(category="off", mil="off"), "nothing is left to select"),
        (lambda: MethodConfig(masked=1.0), "less than 1"),
        (lambda: MethodConfig(hard_candidate_fraction=0.0), "more than 0"),
        (lambda: GroundLoss(category=0), "category must be more than 0"),
        (lambda: NetworkConfig(width=30, heads=4), "multiple of network.heads"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()


def test_the_papers_preset_is_the_authors_code():
    method, network, loss = (getattr(PRESETS["paper"], name) for name in ("method", "network", "loss"))
    assert (network.width, network.heads, network.relation_layers, network.decoder_layers) == (288, 8, 2, 3)
    assert (
        network.norm_momentum == 0.5
        and network.causal
        and network.sentence == "last"
        and network.relations == "absolute"
    )
    assert (
        method.candidates,
        method.hard_candidate_fraction,
        method.hard_candidates_from,
        method.masked,
    ) == (8, 0.5, 3, 0.3)
    assert method.category == "annotation" and method.background and not method.mask_keywords
    assert (loss.features, loss.category, loss.reconstruction, loss.distillation) == (2, 2, 1, 1)
    lexicon = Lexicon(tuple(WORDS), torch.zeros(SPECIAL + len(WORDS), 300))
    student = Grounder(network, method, lexicon, 288, CLASSES * 6)
    parts = (student.encoder, student.category, student.relation, student.match, student.reconstructor)
    encoder, category, relation, match, decoder = (sum(p.numel() for p in x.parameters()) for x in parts)
    assert encoder + category == 598_770, "ws3dvg.md 4.1, GloVe's 300 channels"
    assert relation == 925_344 - 2 * 129 * 288, "4.2 without its two maps of multi-view features"
    assert match == 501_411, "4.3"
    assert decoder == 3_000_960 + 289 * len(student.vectors), "4.4"


def test_the_papers_attention_starts_as_the_authors():
    """Glorot's uniform weights are within the root of 6 / (in + out), and there is no bias (ws3dvg.md 4)."""
    lexicon = Lexicon(tuple(WORDS), torch.zeros(SPECIAL + len(WORDS), 300))
    student = Grounder(PRESETS["paper"].network, PRESETS["paper"].method, lexicon, 288, CLASSES * 6)
    ours = [m for m in student.modules() if isinstance(m, Attention)]
    theirs = [m for m in student.modules() if isinstance(m, torch.nn.MultiheadAttention)]
    assert (len(ours), len(theirs)) == (3, 6)
    maps = [(m.weight, m.bias) for each in ours for m in (each.query, each.key, each.value, each.out)]
    maps += [(m.out_proj.weight, m.out_proj.bias) for m in theirs]
    for weight, bias in maps:
        assert weight.std().item() == pytest.approx((2 / (2 * 288)) ** 0.5, rel=0.02)
        assert weight.abs().max() <= (6 / (2 * 288)) ** 0.5 and not bias.any()
    for each in theirs:
        assert each.in_proj_weight.std().item() == pytest.approx((2 / (4 * 288)) ** 0.5, rel=0.02)
        assert not each.in_proj_bias.any()


def test_pictures_are_drawn_for_any_sentence(tmp_path):
    student, room = made(), made_up_room("room-1", 6)
    draw(tmp_path, 0, student, room, "detected")
    empty = dataclasses.replace(room, objectness=np.zeros(6, bool))
    draw(tmp_path, 1, student, empty, "detected")
    draw(tmp_path, 2, made(MethodConfig(reconstruct=False)), room, "instances")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"grounding_{i}.png" for i in range(3)]
    told = explain(student, room, 0, "detected")
    kept = np.isfinite(told.guess.losses)
    keywords = room.sentences[0].keywords
    rho = 0.3 * told.losses[:, ~keywords].mean(1) + 0.7 * told.losses[:, keywords].mean(1)
    np.testing.assert_allclose(rho, told.guess.losses[kept], rtol=1e-4)


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms") / "shards"
    write_shards(MadeUpRooms(), None, str(folder), RoomOptions(), 4, progress=False, kind=ROOM)
    return str(folder)


def job(shards, storage) -> GroundConfig:
    preset = PRESETS["synthetic"]
    return replace(
        preset,
        data=DataConfig(shards, shards),
        network=SMALL,
        loop=LoopConfig(epochs=2, batch=4, log_every=1),
        scale=replace(preset.scale, workers=2),
        run=RunConfig("grounded", str(storage)),
    )


@pytest.fixture(scope="module")
def grounded(shards, run_storage):
    """A trained run that held out every fourth room: its folder, and the metrics of its epochs."""
    epochs = []
    config = replace(job(shards, run_storage), validation=ValidationConfig(4))
    run(ground.GroundTask(config), epochs.append)
    return run_storage / "grounded", epochs


def test_the_whole_job(shards, grounded):
    folder, _ = grounded
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    for who in ("random", "coarse", "teacher", "student", "upper", "ceiling"):
        assert 0 <= result["metrics"][f"detected/{who}/acc25/overall"] <= 1
    assert result["metrics"]["detected/ceiling/acc50/overall"] == 1
    student = Grounder.load(folder / "student")
    again = score(student, open_samples(shards, ROOM).read_many(range(12)), "detected").metrics()
    for name, value in again.items():
        if not name.startswith("inference/"):
            assert result["metrics"][name] == pytest.approx(value), name
    assert len(list((folder / "pictures").glob("grounding_*.png"))) == ground.PICTURED


def test_held_out_rooms_are_scored_and_not_trained_on(shards, grounded):
    _, said = grounded
    assert len(said) == 2 and all(0 <= values[ground.MEASURE["detected"]] <= 1 for values in said)
    task = ground.GroundTask(replace(job(shards, grounded[0]), validation=ValidationConfig(4)))
    kept, validation = task.validation()
    assert len(kept) == 9 and len(validation.chosen) == 3 and not set(kept) & set(validation.chosen)


@pytest.mark.ray
def test_bad_input_ends_with_one_clear_line(shards, tmp_path):
    good = job(shards, tmp_path / "runs")
    other = Path(tmp_path / "other")
    other.mkdir()
    for file in Path(shards).glob("*.parquet"):
        (other / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((Path(shards) / "manifest.json").read_text())
    manifest["about"]["features"] = 7
    (other / "manifest.json").write_text(json.dumps(manifest))
    for config, kind, message in (
        (replace(good, data=DataConfig(shards, str(other))), DataError, "has other features"),
        (replace(good, data=DataConfig(None, shards)), ConfigError, "without data.train"),
        (replace(good, validation=ValidationConfig(50)), ConfigError, "cannot be taken"),
        (replace(good, loop=LoopConfig(batch=32)), ConfigError, "do not fill one batch"),
    ):
        with pytest.raises(kind, match=message) as caught:
            ground.run(config)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs" / "grounded").exists()
