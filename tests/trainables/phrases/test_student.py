"""The student of phrases: its encoders step by step, its file, its words."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scenelift.errors import ConfigError, DataError, SceneliftError
from scenelift.samples.caption import RegionStatistics
from tests.made.captions import made_up_image
from trainables.phrases.config import EncoderConfig
from trainables.phrases.student import PhraseStudent, make_student

WORDS = ("a", "blue", "car", "dog", "man", "red", "the")
SMALL = EncoderConfig(word_channels=6, lstm=7, hidden=8, channels=4, tokens=5)
STATISTICS = RegionStatistics(5, 1.0, 0.5)


@pytest.fixture
def student():
    torch.manual_seed(0)
    return PhraseStudent(SMALL, WORDS, STATISTICS).eval()


def looped(student, numbers):
    """One phrase, one step after the other: gates in torch's order, input, forget, cell, output."""
    lstm, width = student.lstm, student.config.lstm
    state, cell, states = torch.zeros(width), torch.zeros(width), []
    for number in numbers:
        gates = lstm.weight_ih_l0 @ student.embedding.weight[number] + lstm.weight_hh_l0 @ state
        i, f, g, o = (gates + lstm.bias_ih_l0 + lstm.bias_hh_l0).split(width)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        state = o.sigmoid() * cell.tanh()
        states.append(state)
    pooled = states[0]
    for number, state in zip(numbers[1:], states[1:], strict=True):
        if number:
            pooled = torch.maximum(pooled, state)
    return F.normalize(student.phrase_layers(pooled), dim=0)


@pytest.mark.parametrize(
    "numbers", [[1, 2, 3, 0, 0], [1, 0, 3, 0, 0], [0, 4, 0, 0, 0], [0, 0, 0, 0, 0], [7, 6, 5, 4, 3]]
)
def test_a_phrase_is_the_maximum_over_its_first_and_its_known_words(student, numbers):
    found = student.encode_phrases(torch.tensor([numbers]))[0]
    torch.testing.assert_close(found, looped(student, numbers))


def test_an_unknown_word_in_between_moves_the_state_on(student):
    with_gap, without = (
        student.encode_phrases(torch.tensor([row])) for row in ([1, 0, 3, 0, 0], [1, 3, 0, 0, 0])
    )
    assert not torch.allclose(with_gap, without)


def test_the_network_starts_as_the_papers_does():
    torch.manual_seed(0)
    paper = PhraseStudent(EncoderConfig(glove="somewhere"), WORDS, RegionStatistics(2048, 0, 1))
    assert paper.size == 4_177_200, "LSTM 721,200, phrases 833,024, regions 2,622,976"
    forget = paper.lstm.bias_ih_l0 + paper.lstm.bias_hh_l0
    assert (forget[300:600] == 1).all() and forget.sum() == 300


def test_regions_are_standardised_and_of_unit_length(student):
    features = torch.rand(2, 3, 5)
    found = student.encode_regions(features)
    torch.testing.assert_close(found, F.normalize(student.region_layers((features - 1) / 0.5), dim=2))
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, 3))


def test_no_phrases_give_no_rows_and_a_gradient(student):
    found = student.encode_phrases(torch.zeros(0, 5, dtype=torch.int64))
    assert found.shape == (0, 4)
    found.sum().backward()


def test_grounding_needs_no_detector_and_takes_every_phrase(student):
    sample = made_up_image(sentences=(("a man", "quux quux", "a red dog"), ("the",)))
    scores = student.ground(sample)
    assert scores.shape == (4, 6) and np.abs(scores).max() <= 1 + 1e-6 and np.isfinite(scores).all()
    blind = made_up_image(posteriors=False, sentences=(("a man", "quux quux", "a red dog"), ("the",)))
    np.testing.assert_array_equal(scores, student.ground(blind))
    words = torch.from_numpy(student.vocabulary(["a red dog"]))
    one = student.encode_phrases(words) @ student.encode_regions(torch.from_numpy(sample.features).float()).T
    np.testing.assert_allclose(scores[2], one[0].detach(), rtol=1e-5)


def test_saved_and_loaded_it_is_the_same(student, tmp_path):
    student.save(tmp_path / "student")
    again = PhraseStudent.load(tmp_path / "student")
    assert again.vocabulary.known == WORDS and again.statistics == STATISTICS and again.config == SMALL
    np.testing.assert_array_equal(again.ground(made_up_image()), student.ground(made_up_image()))
    other = PhraseStudent(SMALL, WORDS, STATISTICS)
    other.restore(tmp_path / "student")
    assert all(
        torch.equal(one, two) for one, two in zip(other.parameters(), student.parameters(), strict=True)
    )
    description = json.loads((tmp_path / "student" / "student.json").read_text())
    (tmp_path / "student" / "student.json").write_text(json.dumps(description | {"schema_version": 2}))
    with pytest.raises(SceneliftError, match="schema version 2, this one reads 1"):
        PhraseStudent.load(tmp_path / "student")
    (tmp_path / "student" / "student.json").write_text(json.dumps(description | {"words": ["one"]}))
    with pytest.raises(SceneliftError, match="does not hold a student of phrases"):
        PhraseStudent.load(tmp_path / "student")


def glove(path, words, width=6):
    rng = np.random.default_rng(0)
    vectors = {word: rng.normal(size=width) for word in words}
    path.write_text(
        "".join(f"{word} {' '.join(f'{x:.5f}' for x in vector)}\n" for word, vector in vectors.items())
    )
    return vectors


def test_vectors_of_a_file_stay_as_they_are(tmp_path):
    from dataclasses import replace

    vectors = glove(tmp_path / "glove.txt", ("dog", "the", "unused"))
    config = replace(SMALL, glove=str(tmp_path / "glove.txt"))
    student = make_student(config, ("the", "dog", "quux"), STATISTICS)
    assert student.vocabulary.known == ("dog", "the")
    np.testing.assert_allclose(student.embedding.weight[1], vectors["dog"], atol=1e-5)
    assert (student.embedding.weight[0] == 0).all() and not student.embedding.weight.requires_grad
    with pytest.raises(ConfigError, match="vectors of 6 numbers"):
        make_student(replace(config, word_channels=5), ("the",), STATISTICS)
    with pytest.raises(DataError, match="none of the words"):
        make_student(config, ("quux",), STATISTICS)
    with pytest.raises(DataError, match="give a GloVe file"):
        make_student(replace(config, glove=str(tmp_path / "none.txt")), ("the",), STATISTICS)


def test_the_cost_is_that_of_its_matrices(student):
    region, step = 5 * 8 + 8 * 4, 4 * 7 * (6 + 7)
    assert student.operations(10, 0) == 10 * region
    assert student.operations(0, 3) == 3 * (5 * step + 7 * 8 + 8 * 4)
    assert student.operations(10, 3) - student.operations(10, 0) - student.operations(0, 3) == 10 * 3 * 4
