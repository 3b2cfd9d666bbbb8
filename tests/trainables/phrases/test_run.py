"""A run of phrase grounding: what the student is made of, what it is compared with, what is said of it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from datasets.captions.config import CaptionOptions
from scenelift.errors import DataError
from scenelift.samples.caption import CAPTIONED_IMAGE, CaptionSet, RegionStatistics
from scenelift.samples.kind import Manifest
from tests.made.captions import MadeUpCaptions, made_up_image
from trainables.phrases.config import PRESETS, DistillationConfig, EncoderConfig, PhrasesConfig
from trainables.phrases.scores import Cost, PhraseScores, believed, metrics, table
from trainables.phrases.student import PhraseStudent
from trainables.phrases.task import grounders, outline, require, untrained_student

SMALL = EncoderConfig(word_channels=16, lstm=16, hidden=32, channels=16)


def described(**other):
    """Shards of one image of which only the description is asked."""
    summary = CAPTIONED_IMAGE.summarize([made_up_image()], MadeUpCaptions)
    about = CAPTIONED_IMAGE.describe([summary], MadeUpCaptions, CaptionOptions())
    manifest = Manifest("captioned image", 1, "d", "1", "train", {**about, **other}, 1, 1, (), (), "")
    return SimpleNamespace(path="shards", manifest=manifest)


def statistics(mean):
    return {"width": 5, "mean": mean, "std": 1.0}


def test_statistics_are_of_the_training_images_and_test_words_only_where_a_file_has_them(tmp_path):
    train = described(statistics=statistics(1.0), words={"a": 1, "man": 1})
    test = described(statistics=statistics(9.0), words={"a": 1, "dog": 1})
    (tmp_path / "glove.txt").write_text("".join(f"{word} {'0.5 ' * 16}\n" for word in ("a", "man", "dog")))
    learnt = untrained_student(PhrasesConfig(student=SMALL), train, test)
    assert learnt.statistics.mean == 1.0 and learnt.vocabulary.known == ("a", "man")
    given = replace(SMALL, glove=str(tmp_path / "glove.txt"))
    assert untrained_student(PhrasesConfig(student=given), train, test).vocabulary.known == (
        "a",
        "dog",
        "man",
    )


def test_the_student_is_scored_and_timed_without_the_detector():
    seen = []

    class Watched(PhraseStudent):
        def ground(self, sample):
            seen.append(sample.posteriors)
            return super().ground(sample)

    sample = made_up_image()
    watched = Watched(SMALL, ("a", "man"), RegionStatistics(5, 1.0, 0.5))
    spent = Cost.of(watched, sample)
    assert (spent.phrases, spent.regions) == (6, 6) and spent.milliseconds > 0
    assert spent.multiplications == watched.operations(6, 6)
    assert "6 phrases among 6 regions" in str(spent) and "no detector is asked" in str(spent)
    compared = grounders(watched, fuse=2.0)
    assert set(compared) == {"student", "detector", "fused"}
    added = compared["fused"](sample) - compared["student"](sample)
    np.testing.assert_allclose(added, 2 * believed(sample), rtol=1e-4, atol=1e-6)
    assert seen == [None] * 4, "twice for the cost, once for each of the two"


def test_an_outline_is_all_that_scores_need():
    sample, found = made_up_image(), np.random.default_rng(0).random((6, 6), np.float32)
    whole, bare = PhraseScores(), PhraseScores()
    whole.add(sample, found)
    bare.add(outline(sample), found)
    assert whole.metrics() == bare.metrics() and outline(sample).photo is None


def test_the_coverage_is_said_and_shards_without_any_are_refused(capsys):
    shards = described()
    about = CaptionSet.of(shards.manifest)
    assert (about.mapped, about.phrases, about.distinct_mapped, about.distinct) == (5, 6, 4, 5)
    assert about.coverage == "5 phrases (83%) name a class of the detector; 4 of 5 different ones"
    config = PhrasesConfig(distillation=DistillationConfig(neighbours=4))
    require(config, shards)
    assert about.coverage in capsys.readouterr().err
    refused = {"mapped": 0, "posteriors": False, "neighbours": 3}
    for name, value in refused.items():
        with pytest.raises(DataError, match="shards"):
            require(config, described(**{name: value}))
    with pytest.raises(DataError, match="no photos for CLIP"):
        require(replace(config, student=EncoderConfig("clip")), shards)


def test_the_table_has_ranks_pointing_types_and_the_ceiling():
    scores = {"random": PhraseScores(), "student": PhraseScores()}
    sample = made_up_image()
    for found in scores.values():
        found.add(sample, np.random.default_rng(0).random((6, 6), np.float32))
    shown, named = table(scores), metrics(scores)
    for column in ("R@1", "R@5", "R@10", "pointing", "R@1 known", "unknown", "student by type: other"):
        assert column in shown
    assert "5 phrases with a box; at most 1.000 can be found" in shown
    assert {"random/r1", "grounding/r10", "grounding/ceiling", "grounding/r1/other"} <= named.keys()


def test_the_teachers_temperature_is_the_codes_for_the_detectors_classes():
    """ckd.md 5.3: belief in COCO's 80 classes is divided by 2, that in Open Images' 545 is not."""
    paper = PRESETS["paper_flickr30k"].distillation
    assert [paper.settled(classes).teacher_temperature for classes in (80, 545, 1600)] == [2.0, 1.0, 1.0]
    assert replace(paper, teacher_temperature=1.0).settled(80).teacher_temperature == 1.0
    assert PRESETS["synthetic"].distillation.settled(80).teacher_temperature == 1.0, "of log belief"
