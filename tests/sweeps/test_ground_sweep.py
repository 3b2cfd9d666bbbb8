"""The search of grounding's losses: what it varies, that it names its protocol, and never sees the test rooms."""

from dataclasses import replace

import pytest

from datasets.grounding.config import RoomOptions
from scenelift.errors import DataError
from scenelift.runs.config import DataConfig
from scenelift.runs.task import trial_config
from scenelift.samples.room import ROOM
from scenelift.shards.write import write_shards
from scenelift.tune import space as spaces
from sweeps.ground import SWEEP, space
from tests.made.rooms import MadeUpRooms
from trainables.ground.config import PRESETS, MethodConfig
from trainables.ground.task import GroundTask


def test_only_what_is_switched_on_is_searched():
    preset = PRESETS["synthetic"]
    weights = {"loss.features", "loss.category", "loss.reconstruction", "loss.distillation"}
    of_candidates = {"method.hard_candidate_fraction", "method.candidates", "method.reward_power"}
    assert set(spaces.checked(space(preset), preset)) == weights | of_candidates
    method = MethodConfig(mil="off", reconstruct=False, distill=False)
    bare = replace(preset, method=method)
    assert set(spaces.checked(space(bare), bare)) == {"loss.category", "method.candidates"}
    bare = replace(preset, method=replace(method, mil="nce", category="off"))
    assert set(spaces.checked(space(bare), bare)) == {"loss.features", "method.candidates"}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_presets_own_values_are_a_trial(name):
    searched = space(PRESETS[name])
    assert spaces.holds(searched, spaces.baseline_values(searched, PRESETS[name]))


def test_the_command_is_understood_and_judges_by_the_share_of_objects_found():
    settings, config, given = SWEEP.parse(["--trials", "3", "--loss.features", "1"])
    assert (settings.objective, settings.trials, config.loss.features) == (None, 3, 1)
    assert next(iter(GroundTask.objectives)) == "validation/acc25", "what no objective means"
    assert given == ("loss.features",)
    assert SWEEP.parse(["--objective", "validation/accuracy"])[0].objective == "validation/accuracy"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("protocol", "measure", "other"),
    [
        ("made up, detected boxes", "validation/acc25", "validation/accuracy"),
        ("made up, true instances", "validation/accuracy", "validation/acc25"),
    ],
)
def test_trials_are_judged_by_their_protocol_and_leave_test_rooms_alone(
    ray_session, tmp_path, protocol, measure, other
):
    out = str(tmp_path / "shards")
    source = MadeUpRooms(protocol=protocol)
    write_shards(source, None, out, RoomOptions(), 6, progress=False, kind=ROOM)
    config = replace(PRESETS["synthetic"], data=DataConfig(out, out))
    chosen = trial_config(GroundTask, config, 3, measure)
    assert chosen.data.test is None and chosen.validation.holdout_every == 3
    for objective in (other, "validation/miou"):
        with pytest.raises(DataError, match=f"but {measure} can"):
            trial_config(GroundTask, config, 3, objective)
