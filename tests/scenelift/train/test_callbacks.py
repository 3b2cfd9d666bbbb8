"""Every switch beside the steps does what it says, and a broken training ends as a whole one."""

import json
from dataclasses import replace

import pytest
import torch

from scenelift.errors import ConfigError
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import WatchConfig
from scenelift.train.loop import train
from scenelift.train.state import Callback
from tests.made.checkpoints import state_of
from tests.scenelift.train.test_loop import LOOP, Supervised, stream, weights, worker

EPOCHS = replace(LOOP, epochs=8, checkpoint_every=3)
"""Of two steps each."""


class Scripted:
    """A validation that finds what is written for each epoch, and remembers which epochs it was asked for."""

    def __init__(self, scores, every=1):
        self.scores, self.every = scores, every
        self.epochs, self.students = [], []

    def __call__(self, student, epoch, epochs):
        if epoch % self.every and epoch < epochs:
            return {}
        self.epochs.append(epoch)
        self.students.append({name: value.clone() for name, value in student.state_dict().items()})
        return {"validation/other": 0.0, "validation/miou": self.scores[epoch - 1]}


def watching(loop=EPOCHS, **settings):
    return replace(loop, watch=WatchConfig(**settings))


class BrokenError(Exception):
    """Stands for a killed worker."""


def broken_at(step):
    def stop(indices, collate, size):
        for number, batch in enumerate(stream(indices, collate, size)):
            if number == step:
                raise BrokenError
            yield batch

    return stop


def train_broken(folder, loop, step, **given):
    """Train until a worker is lost in `step`, and then to the end."""
    first = worker(folder, loop, **given)
    first.stream = broken_at(step)
    with pytest.raises(BrokenError):
        train(Supervised(), first)
    train(Supervised(), worker(folder, loop, **given))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Weights and events of a training with no switch on."""
    folder, events = tmp_path_factory.mktemp("plain"), []
    train(Supervised(), worker(folder, EPOCHS, post=events.append))
    return weights(folder), events


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("log_every", [1, 5])
def test_validation_is_due_by_its_own_setting_and_the_same_after_a_break(tmp_path, log_every):
    """B5 of the review: epochs shorter than `loop.log_every` were not validated, and other ones after a crash."""
    loop = replace(LOOP, epochs=9, batch=10, log_every=log_every, checkpoint_every=4)  # a step an epoch
    whole, events, reports = Scripted([0.5] * 9, every=2), [], []
    train(
        Supervised(), worker(tmp_path / "a", loop, validate=whole, post=events.append, report=reports.append)
    )
    assert whole.epochs == [2, 4, 6, 8, 9]
    said = [e["values"]["epoch"] for e in events if e["kind"] == "epoch" and "validation/miou" in e["values"]]
    assert said == whole.epochs == [r["epoch"] for r in reports if "validation/miou" in r]
    again = Scripted([0.5] * 9, every=2)
    train_broken(tmp_path / "b", loop, 6, validate=again)
    assert again.epochs == [2, 4, 6, 6, 8, 9], "what came after the checkpoint of step 4 is done again"


def test_epochs_that_are_not_validated_are_reported_only_now_and_then(tmp_path):
    reports = []
    loop = replace(LOOP, epochs=9, batch=10, log_every=4)
    train(Supervised(), worker(tmp_path, loop, report=reports.append, validate=Scripted([0.0] * 9, every=5)))
    assert [report["epoch"] for report in reports] == [4, 5, 8, 9]


SCORES = [0.1, 0.6, 0.3, 0.7, 0.2, 0.65, 0.6, 0.5]


def test_the_best_by_validation_stays_beside_the_newest(tmp_path, plain):
    loop = watching(replace(EPOCHS, keep=1), keep_best=True, metric="validation/miou")
    train(Supervised(), worker(tmp_path / "whole", loop, validate=Scripted(SCORES)))
    for step in (8, 11):
        train_broken(tmp_path / f"broken {step}", loop, step, validate=Scripted(SCORES))
    for folder in tmp_path.iterdir():
        checkpoints = Checkpoints(folder)
        assert [c.step for c in checkpoints.all()] == [8, 16], (
            "epoch 4, of no regular checkpoint, and the last"
        )
        assert (checkpoints.best().step, checkpoints.best().score) == (8, 0.7)
    assert same(plain[0], weights(tmp_path / "whole")), "writing more checkpoints changes no weight"


@pytest.mark.parametrize("step", [None, 8, 11])
def test_patience_ends_a_training_well_wherever_it_was_broken(tmp_path, step):
    """The best is epoch 4; three validations later, after epoch 7, nothing better has come."""
    loop = watching(early_stopping=3, metric="validation/miou")
    events = []
    given = {"validate": Scripted(SCORES), "post": events.append}
    if step is None:
        train(Supervised(), worker(tmp_path, loop, **given))
    else:
        train_broken(tmp_path, loop, step, **given)
    assert events[-1] == {"kind": "stopped", "step": 14, "best": 0.7, "validations": 3}
    last = [event for event in events if event["kind"] == "epoch"][-1]["values"]
    assert (last["epoch"], last["percent"]) == (7, 100)
    assert Checkpoints(tmp_path).latest().step == 14, "where it stopped, whatever checkpoint_every says"


def test_a_training_that_was_stopped_goes_on_with_more_patience_only(tmp_path):
    loop = watching(early_stopping=3, metric="validation/miou")
    train(Supervised(), worker(tmp_path, loop, validate=Scripted(SCORES)))
    again = Scripted(SCORES)
    train(Supervised(), worker(tmp_path, loop, validate=again))
    assert again.epochs == []
    train(Supervised(), worker(tmp_path, watching(early_stopping=4), validate=again))
    assert again.epochs == [8] and Checkpoints(tmp_path).latest().step == 16


def test_scores_that_are_not_numbers_are_no_best(tmp_path):
    events = []
    nan = [0.5, *[float("nan")] * 7]
    loop = watching(early_stopping=2, keep_best=True, metric="validation/miou")
    train(Supervised(), worker(tmp_path, loop, validate=Scripted(nan), post=events.append))
    assert events[-1]["step"] == 6 and Checkpoints(tmp_path).best().score == 0.5


def test_a_metric_that_validation_does_not_measure_is_refused(tmp_path):
    wrong = watching(keep_best=True, metric="validation/iou")
    with pytest.raises(
        ConfigError, match=r"watch.metric validation/iou, only validation/other, validation/miou"
    ):
        train(Supervised(), worker(tmp_path, wrong, validate=Scripted(SCORES)))


class Recorder(Callback):
    """Keeps the student's weights after every step."""

    def __init__(self, state):
        super().__init__(state)
        self.seen = []

    def on_step(self):
        self.seen.append({n: v.clone() for n, v in self.state.method.student.state_dict().items()})


def test_the_average_is_validated_and_saved_while_raw_weights_are_trained(tmp_path, plain):
    """The oracle averages the weights that the steps left, one by one."""
    validate, recorders = Scripted([0.0] * 8), []

    def record(state):
        recorders.append(Recorder(state))
        return recorders[-1]

    train(Supervised(), worker(tmp_path / "a", watching(ema=0.8), validate=validate, callbacks=[record]))
    seen = recorders[0].seen
    assert same(plain[0], seen[-1]), "the training is the same as without"
    name = next(name for name, value in seen[0].items() if value.requires_grad or "weight" in name)
    oracle = seen[0][name]
    for number, step in enumerate(seen[1:], 2):
        oracle = 0.8 * oracle + 0.2 * step[name]
        if number % 2 == 0:
            assert torch.allclose(validate.students[number // 2 - 1][name], oracle, atol=1e-6)
    saved = weights(tmp_path / "a")
    assert torch.allclose(saved[name], oracle, atol=1e-6) and not torch.equal(saved[name], seen[-1][name])


def test_an_average_goes_on_to_the_last_bit(tmp_path):
    loop = watching(ema=0.8)
    train(Supervised(), worker(tmp_path / "whole", loop))
    whole = Checkpoints(tmp_path / "whole").latest()
    for step in (4, 7):
        folder = tmp_path / f"broken {step}"
        train_broken(folder, loop, step)
        assert same(weights(tmp_path / "whole"), weights(folder))
        assert same(state_of(whole)["student"], state_of(Checkpoints(folder).latest())["student"])


def test_a_training_goes_on_from_raw_weights_when_averaging_is_switched_off(tmp_path, plain):
    train(Supervised(), worker(tmp_path / "a", watching(replace(EPOCHS, stop_after=4), ema=0.8)))
    train(Supervised(), worker(tmp_path / "a", EPOCHS))
    assert same(weights(tmp_path / "a"), plain[0])


def test_norms_of_gradients_are_logged_before_clipping(tmp_path, plain):
    norms = {}
    for clip in (None, 1e-3):
        events = []
        clipped = worker(tmp_path / str(clip), watching(gradient_norm=True), post=events.append)
        clipped.optimizer = replace(clipped.optimizer, clip_norm=clip)
        train(Supervised(), clipped)
        norms[clip] = [e["values"]["gradient_norm"] for e in events if e["kind"] == "metrics"]
    assert len(norms[None]) == len(norms[1e-3]) and min(norms[1e-3]) > 1e-2
    assert not any("gradient_norm" in e.get("values", {}) for e in plain[1])
    assert same(plain[0], weights(tmp_path / "None"))


def test_chosen_steps_are_profiled_into_the_folder_of_the_run(tmp_path):
    train(Supervised(), worker(tmp_path / "run" / "checkpoints", watching(profile="2:4")))
    (trace,) = (tmp_path / "run").glob("profile*")
    assert trace.name == "profile-2-4.json"
    names = [event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]]
    assert sum(name.startswith("Optimizer.step") for name in names) == 2
    with pytest.raises(ConfigError, match=r"begins at step 16 of 16"):
        train(Supervised(), worker(tmp_path / "late", watching(profile="16:20")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"final": "best"}, "needs --loop.watch.keep_best true"),
        ({"profile": "5:5"}, "START before STOP"),
        ({"profile": "late"}, "such as 20:25, not late"),
    ],
)
def test_switches_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        WatchConfig(**settings)


def test_measuring_counts_the_weights_that_are_kept_beside_their_average(tmp_path, plain):
    events = []
    train(Supervised(), worker(tmp_path, watching(ema=0.9), post=events.append))
    without, beside = (
        next(event["values"]["checkpoint"] for event in told if event["kind"] == "estimate")
        for told in (plain[1], events)
    )
    assert beside > 1.2 * without
