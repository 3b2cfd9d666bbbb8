"""Captioned images: their rows, what their shards say of themselves, and how phrases are cut into words."""

import json
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from scenelift.errors import ShardError
from scenelift.samples.caption import CAPTIONED_IMAGE, CaptionSet, RegionStatistics, feature_sums, words_of
from scenelift.samples.frame import FRAME
from scenelift.shards.read import open_samples
from scenelift.shards.write import write_shards
from tests.made.captions import CLASSES, MadeUpCaptions, made_up_image


@dataclass(frozen=True)
class Options:
    neighbours: int = 4


def same(one, other):
    for field in fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        else:
            assert left == right, field.name


@pytest.mark.parametrize("posteriors", [True, False])
@pytest.mark.parametrize("photo", [None, b"jpeg"])
def test_a_row_gives_back_the_sample(posteriors, photo):
    sample = replace(made_up_image(posteriors=posteriors), photo=photo)
    row = CAPTIONED_IMAGE.to_row(sample)
    assert set(row) == set(CAPTIONED_IMAGE.schema.names)
    back = CAPTIONED_IMAGE.from_row(row)
    same(sample, back)
    assert not back.features.flags.writeable


def test_the_statistics_are_those_of_all_numbers():
    rng = np.random.default_rng(0)
    parts = [rng.gamma(2, 1, (rows, 7)).astype(np.float16) for rows in (3, 1, 12)]
    found = RegionStatistics.of([feature_sums(parts[:1]), feature_sums(parts[1:]), feature_sums([])])
    everything = np.concatenate(parts).astype(np.float64)
    assert found.width == 7
    assert found.mean == pytest.approx(everything.mean()) and found.std == pytest.approx(everything.std())


def test_words_are_lower_case_and_without_punctuation():
    assert words_of("that's a T-shirt, isn't it..!") == ["that", "'s", "a", "t-shirt", "isn", "'t", "it"]
    assert words_of("Two young , White males") == ["two", "young", "white", "males"]
    assert words_of("..!") == []
    assert words_of("Café, naïve Straße: 红色的 椅子") == ["café", "naïve", "straße", "红色的", "椅子"]
    assert words_of("cafe\u0301") == ["café"], "an accent of its own"


def test_shards_describe_what_they_hold():
    samples = [made_up_image(token, regions) for token, regions in (("a", 6), ("b", 3), ("c", 4))]
    source = MadeUpCaptions(3)
    summaries = [CAPTIONED_IMAGE.summarize(part, source) for part in (samples[:2], samples[2:])]
    about = CAPTIONED_IMAGE.describe(json.loads(json.dumps(summaries)), source, Options())
    said = CaptionSet.of(Manifested(json.loads(json.dumps(about))))
    phrases = [phrase for sample in samples for phrase in sample.phrases]
    assert said.classes == CLASSES and said.neighbours == 4
    assert (said.most_regions, said.regions, said.sentences, said.phrases) == (6, 13, 9, len(phrases))
    assert said.boxed == sum(phrase.box is not None for phrase in phrases) < len(phrases)
    assert said.mapped == sum(bool(phrase.classes) for phrase in phrases) < len(phrases)
    assert (said.distinct, said.distinct_mapped) == (5, 4), "the street has no class"
    assert said.types == {"other": len(phrases)}
    assert said.words["man"] == 6 and said.words["a"] == 12 and said.words["street"] == 3
    assert said.posteriors and not said.photos


class Manifested:
    def __init__(self, about):
        self.about = about


@pytest.mark.ray
def test_written_shards_give_the_samples_back_in_order(ray_session, tmp_path):
    out = str(tmp_path / "shards")
    write_shards(MadeUpCaptions(5), None, out, Options(), 2, progress=False, kind=CAPTIONED_IMAGE)
    samples = open_samples(out, CAPTIONED_IMAGE)
    assert len(samples) == 5 and samples.tokens == samples.scenes
    for index, token in enumerate(samples.tokens):
        same(samples.read(index), made_up_image(token))
    assert CaptionSet.of(samples.manifest).regions == 30
    with pytest.raises(ShardError, match="captioned images, not of frames"):
        open_samples(out, FRAME)
