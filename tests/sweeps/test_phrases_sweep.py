"""The search of CKD's losses: what it varies, and that it never sees the test images."""

from dataclasses import replace

import pytest

from datasets.captions.config import CaptionOptions
from scenelift.errors import ConfigError, DataError
from scenelift.runs.task import trial_config
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.shards.write import write_shards
from scenelift.tune import command
from scenelift.tune import space as spaces
from sweeps.phrases import SWEEP, space
from tests.made.captions import MadeUpCaptions
from trainables.phrases.config import PRESETS, ContrastConfig, DistillationConfig, PhraseDataConfig
from trainables.phrases.scores import R1
from trainables.phrases.task import PhrasesTask


def test_only_losses_in_use_are_searched():
    preset = PRESETS["synthetic"]
    both = set(spaces.checked(space(preset), preset))
    assert (
        "contrast.logit_scale" in both and "distillation.max_weight" in both and "contrast.margin" not in both
    )
    alone = replace(preset, distillation=DistillationConfig("none"), contrast=ContrastConfig("margin"))
    assert set(spaces.checked(space(alone), alone)) == {
        "optimizer.lr",
        "contrast.logit_scale",
        "contrast.margin",
    }


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_presets_own_values_are_a_trial(name):
    searched = space(PRESETS[name])
    assert spaces.holds(searched, spaces.baseline_values(searched, PRESETS[name]))


def test_the_command_is_understood_and_judges_by_phrases():
    settings, config, given = command.parse(SWEEP, ["--trials", "3", "--contrast.logit_scale", "5"])
    assert list(PhrasesTask.objectives) == [R1]
    assert (settings.objective, settings.trials, config.contrast.logit_scale, given) == (
        None,
        3,
        5,
        ("contrast.logit_scale",),
    )


@pytest.mark.ray
def test_trials_are_validated_on_training_images_alone(ray_session, tmp_path):
    out = str(tmp_path / "shards")
    options = CaptionOptions(neighbours=4)
    write_shards(MadeUpCaptions(6), None, out, options, 4, progress=False, kind=CAPTIONED_IMAGE)
    preset = PRESETS["synthetic"]
    near = replace(preset.distillation, neighbours=4)
    config = replace(preset, data=PhraseDataConfig(out, out), distillation=near)
    chosen = trial_config(PhrasesTask, config, 3, R1)
    assert chosen.data.test is None and chosen.validation.holdout_every == 3
    with pytest.raises(DataError, match="but validation/r1 can"):
        trial_config(PhrasesTask, config, 3, "validation/miou")
    with pytest.raises(ConfigError, match="cannot be taken"):
        trial_config(PhrasesTask, config, 7, R1)
