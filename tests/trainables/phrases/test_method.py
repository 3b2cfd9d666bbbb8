"""CKD: its method on batches, on the real files, what it learns, and the whole job once."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import BottomUpFolder
from datasets.flickr30k.source import Flickr30k
from datasets.referit.source import ReferIt
from datasets.synthetic_images.config import ImageWorldConfig
from datasets.synthetic_images.generate import generate
from datasets.synthetic_images.shards import source_of, synthetic_image_shards
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.config import ValidationConfig
from scenelift.runs.config import RunConfig
from scenelift.samples.caption import CAPTIONED_IMAGE, RegionStatistics, feature_sums, words_of
from scenelift.shards.read import open_samples
from scenelift.shards.write import write_shards
from scenelift.train.config import ScaleConfig
from scenelift.train.method import Progress
from tests.made.captions import MadeUpCaptions, made_up_image
from trainables.phrases import task as phrases
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.config import (
    PRESETS,
    ContrastConfig,
    DistillationConfig,
    EncoderConfig,
    PhraseDataConfig,
    PhrasesConfig,
)
from trainables.phrases.method import Ckd
from trainables.phrases.pictures import draw
from trainables.phrases.scores import R1, PhraseScores
from trainables.phrases.student import PhraseStudent, make_student
from trainables.phrases.task import PhrasesTask, require

SMALL = EncoderConfig(word_channels=16, lstm=16, hidden=32, channels=16)
PROGRESS = Progress(0, 0, 1)
NO_CONTRAST, NO_DISTILLATION = ContrastConfig(form="none"), DistillationConfig(support="none")


def student_for(samples, config=SMALL):
    torch.manual_seed(0)
    words = {word for sample in samples for phrase in sample.phrases for word in words_of(phrase.text)}
    return make_student(config, words, RegionStatistics.of([feature_sums(s.features for s in samples)]))


def trained(samples, contrast, distillation, steps=30, batch=None, lr=3e-3):
    student = student_for(samples)
    method = Ckd(student, contrast, distillation).train()
    collate = PhraseCollate(student.vocabulary, distil=distillation.support != "none")
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr)
    size = batch or len(samples)
    found = []
    for step in range(steps):
        order = np.random.default_rng(step).permutation(len(samples))[:size]
        losses = method(collate([samples[i] for i in order], step), Progress(step, step, steps))
        assert losses.keys() == method.weights.keys()
        assert all(loss.dtype == torch.float32 and loss.ndim == 0 for loss in losses.values())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append(total.item())
    assert np.isfinite(found).all()
    return student.eval(), found


def test_the_losses_are_those_of_the_batch_and_the_ramp_weighs_distillation():
    samples = [made_up_image(token) for token in "abcd"]
    student = student_for(samples)
    batch = PhraseCollate(student.vocabulary)(samples)
    method = Ckd(student, ContrastConfig(), DistillationConfig())
    early, late = (method(batch, Progress(step, 0, 1)) for step in (0, 1500))
    assert early["contrast"].item() == pytest.approx(late["contrast"].item())
    assert early["distillation"].item() / 0.001 == pytest.approx(late["distillation"].item() / 3, rel=1e-4)
    regions, said = student.encode_regions(batch.features), student.encode_phrases(batch.words)
    scores = torch.zeros(4, 4)
    for n, sentence in enumerate(batch.phrase_sentence.tolist()):
        for image in range(4):
            scores[sentence, image] += 2 * (regions[image] @ said[n]).max()
    wanted = torch.nn.functional.cross_entropy(scores, batch.sentence_image)
    assert early["contrast"].item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("contrast", "distillation", "names"),
    [
        (ContrastConfig(), NO_DISTILLATION, {"contrast"}),
        (ContrastConfig("margin"), NO_DISTILLATION, {"contrast"}),
        (NO_CONTRAST, DistillationConfig(), {"distillation"}),
        (
            ContrastConfig(phrases="mean", regions="logsumexp"),
            DistillationConfig("all"),
            {"contrast", "distillation"},
        ),
        (
            ContrastConfig(negatives="images and sentences"),
            DistillationConfig(teacher="log belief"),
            {"contrast", "distillation"},
        ),
    ],
)
def test_every_switch_trains(contrast, distillation, names):
    samples = [made_up_image(token) for token in "abcd"]
    assert Ckd(student_for(samples), contrast, distillation).weights.keys() == names
    _, losses = trained(samples, contrast, distillation, steps=3)
    assert len(set(losses)) == 3, "something is learnt"


def test_distillation_over_all_regions_leaves_padding_out():
    samples = [made_up_image("a", 9), made_up_image("b", 3)]
    student = student_for(samples)
    collate = PhraseCollate(student.vocabulary)
    method = Ckd(student, NO_CONTRAST, DistillationConfig("all"))
    wide = collate(samples)
    apart = [method(collate([sample]), PROGRESS)["distillation"].item() for sample in samples]
    mapped = [(collate([sample]).teacher > 0).any(1).sum().item() for sample in samples]
    wanted = np.average(apart, weights=mapped)
    assert method(wide, PROGRESS)["distillation"].item() == pytest.approx(wanted, rel=1e-5)


def test_batches_of_which_nothing_can_be_learnt_are_finite():
    usual = [made_up_image(token) for token in "ab"]
    student = student_for(usual)
    collate = PhraseCollate(student.vocabulary)
    unmapped = [made_up_image(token, sentences=(("the street",),)) for token in "ab"]
    silent = [made_up_image(token, sentences=(("quux",),)) for token in "ab"]
    twice = [made_up_image("a"), made_up_image("a")]
    for samples in (unmapped, silent, twice, usual[:1]):
        method = Ckd(student, ContrastConfig(negatives="images and sentences"), DistillationConfig())
        total = sum(method(collate(samples), PROGRESS).values())
        assert torch.isfinite(total)
        student.zero_grad()
        total.backward()
        gradients = [p.grad for p in student.parameters() if p.requires_grad]
        assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_two_captions_of_an_image_are_not_held_against_each_other():
    """Neither in one sample nor in two of the same photo; with another photo beside there is something to lose."""
    student = student_for([made_up_image("a")])
    collate = PhraseCollate(student.vocabulary, captions=2)
    for contrast in (ContrastConfig("margin"), ContrastConfig(negatives="images and sentences")):
        method = Ckd(student, contrast, NO_DISTILLATION)
        alone = method(collate([made_up_image("a"), made_up_image("a")]), PROGRESS)["contrast"]
        assert alone.item() == 0
        assert method(collate([made_up_image("a"), made_up_image("b")]), PROGRESS)["contrast"] > 0.1


def flickr30k(folder):
    return Flickr30k(folder, BottomUpFolder(folder / "regions", names("man", "shirt", "yard")))


def referit(folder):
    return ReferIt(folder, BottomUpFolder(folder / "regions", names("dog", "ground")))


def names(*known):
    return (*known, *(f"thing {i}" for i in range(1600 - len(known))))


@pytest.mark.slow
def test_the_real_files_can_be_trained_and_scored_on(real_data, tmp_path):
    samples = []
    for name, source in (("flickr30k", flickr30k), ("referit", referit)):
        reader = source(real_data / name)
        samples.append(reader.read(reader.list_samples()[0], CaptionOptions(regions=100)))
    samples = [CAPTIONED_IMAGE.from_row(CAPTIONED_IMAGE.to_row(sample)) for sample in samples]
    student, losses = trained(samples, ContrastConfig(), DistillationConfig(every=2), steps=6)
    assert losses[1] < losses[0], "two images are told apart, before distillation begins to weigh"
    scores = PhraseScores()
    for sample in samples:
        scores.add(sample, student.ground(sample))
        draw(tmp_path / f"{sample.token}.png", sample, student.ground(sample))
        assert (tmp_path / f"{sample.token}.png").stat().st_size > 10_000
    metrics = scores.metrics()
    boxed = sum(phrase.box is not None for sample in samples for phrase in sample.phrases)
    assert metrics["phrases"] == boxed == 6 + 3
    assert 0 <= metrics["r1"] <= metrics["r5"] <= metrics["r10"] <= metrics["ceiling"] <= 1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    config = ImageWorldConfig(
        out=tmp_path_factory.mktemp("world") / "images", train=200, test=60, look_noise=0.3
    )
    generate(config)
    source = source_of(config.out)
    return [
        [source.read(k, CaptionOptions()) for k in source.list_samples(split)] for split in ("train", "test")
    ]


@pytest.mark.slow
def test_distillation_adds_to_contrast_which_beats_chance(world):
    """ckd.md 12 j in short; `benchmarks/phrases_table.py` has the whole, over seeds."""
    train, test = world
    preset = PRESETS["synthetic"]
    found = {}
    for name, distillation in (
        ("contrast", NO_DISTILLATION),
        ("both", replace(preset.distillation, every=20)),
    ):
        student, _ = trained(train, preset.contrast, distillation, steps=120, batch=32, lr=1e-2)
        scores = PhraseScores()
        for sample in test:
            scores.add(sample, student.ground(sample))
        found[name] = scores.metrics()["r1"]
    assert 0.3 < found["contrast"] < found["both"] - 0.03


def test_presets_can_be_written_and_read(tmp_path):
    for name, preset in PRESETS.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(dump(preset))
        assert load(PhrasesConfig, file) == preset
    assert not PRESETS["paper_flickr30k"].data.mask_padding
    assert PRESETS["flickr30k"].contrast == PRESETS["paper_flickr30k"].contrast == ContrastConfig()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="nothing to learn"):
        PhrasesConfig(contrast=NO_CONTRAST, distillation=NO_DISTILLATION)
    with pytest.raises(ConfigError, match="knows images alone"):
        ContrastConfig("margin", negatives="images and sentences")
    for make in (
        lambda: ContrastConfig(logit_scale=0),
        lambda: DistillationConfig(student_temperature=0),
        lambda: PhraseDataConfig(captions=0),
        lambda: EncoderConfig(tokens=0),
        lambda: PhrasesConfig(fuse=-1),
    ):
        with pytest.raises(ConfigError):
            make()


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made-up") / "shards"
    options = CaptionOptions(neighbours=4)
    write_shards(MadeUpCaptions(12), None, str(folder), options, 4, progress=False, kind=CAPTIONED_IMAGE)
    return str(folder)


def job(shards, storage):
    preset = PRESETS["synthetic"]
    return replace(
        preset,
        data=PhraseDataConfig(shards, shards),
        student=SMALL,
        distillation=replace(preset.distillation, neighbours=4),
        fuse=1.0,
        loop=replace(preset.loop, epochs=2, batch=4, log_every=1),
        validation=ValidationConfig(holdout_every=3),
        scale=ScaleConfig(workers=2),
        run=RunConfig("grounded", str(storage)),
    )


@pytest.fixture(scope="module")
def grounded(shards, run_storage):
    """A trained run that held out every third image: its folder, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        phrases.run(job(shards, run_storage))
    return run_storage / "grounded", printed.getvalue()


def test_the_whole_job(grounded):
    folder, printed = grounded
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    metrics = result["metrics"]
    assert 0 <= metrics["grounding/r1"] <= metrics["grounding/r10"] <= metrics["grounding/ceiling"] == 1
    assert {f"{who}/r1" for who in ("random", "detector", "fused")} <= metrics.keys()
    names = ("pointing", "r1/other", "multiplications", "milliseconds")
    assert {f"grounding/{name}" for name in names} <= metrics.keys()
    assert len(list((folder / "pictures").glob("phrases_*.png"))) == 3
    assert "validation/r1" in (folder / "history.jsonl").read_text()
    assert "no detector is asked" in printed and "R@1" in printed


def test_the_saved_student_is_trained_and_has_the_scores_of_the_run(shards, grounded):
    folder, _ = grounded
    student, before = PhraseStudent.load(folder / "student"), PhraseStudent.load(folder / "initial")
    scores = PhraseScores()
    for sample in (open_samples(shards, CAPTIONED_IMAGE).read(i) for i in range(12)):
        scores.add(sample, student.ground(sample))
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert scores.metrics()["r1"] == pytest.approx(metrics["grounding/r1"])
    pairs = zip(before.parameters(), student.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


@pytest.mark.ray
def test_what_the_shards_do_not_hold_ends_with_one_clear_line(shards, tmp_path):
    good = job(shards, tmp_path / "runs")
    eight = replace(good, distillation=DistillationConfig(neighbours=8))
    mistakes = [
        (replace(good, data=PhraseDataConfig(None, shards)), ConfigError, "without data.train"),
        (eight, DataError, "keeps 4 neighbours of a region"),
        (replace(good, loop=replace(good.loop, batch=40)), ConfigError, "do not fill one batch"),
        (
            replace(good, validation=ValidationConfig(holdout_every=50)),
            ConfigError,
            "cannot be taken from the 12 scenes",
        ),
        (replace(good, student=replace(SMALL, glove="none.txt")), DataError, "give a GloVe file"),
    ]
    for config, kind, message in mistakes:
        with pytest.raises(kind, match=message) as caught:
            phrases.run(config)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs" / "grounded").exists()
    assert (
        require(
            replace(eight, distillation=NO_DISTILLATION), open_samples(shards, CAPTIONED_IMAGE)
        ).neighbours
        == 4
    )


@pytest.mark.ray
def test_held_out_images_are_not_trained_on(shards, tmp_path):
    config = job(shards, tmp_path / "runs")
    task = PhrasesTask(replace(config, validation=ValidationConfig(holdout_every=4, max_samples=2)))
    kept, validation = task.validation()
    assert sorted({*kept, 3, 7, 11}) == list(range(12)) and set(validation.chosen) <= {3, 7, 11}
    student = student_for([task.train.read(0)])
    assert 0 <= validation(student, 1, 2)[R1] <= 1
    task.about = replace(task.about, boxed=0)
    with pytest.raises(DataError, match="has a box"):
        task.validation()


@pytest.mark.ray
def test_synthetic_shards_are_made_once_and_hold_a_split(ray_session, tmp_path):
    world = ImageWorldConfig(out=tmp_path / "images", train=5, test=3)
    made = [synthetic_image_shards(split, world) for split in ("train", "test")]
    sizes = [len(open_samples(path, CAPTIONED_IMAGE)) for path in made]
    assert sizes == [5, 3] and synthetic_image_shards("train", world) == made[0]
    with pytest.raises(ConfigError, match="other synthetic images"):
        synthetic_image_shards("train", replace(world, seed=3))
