"""What we use of spconv's private parts is still there and does what we need it for: run after an upgrade."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import spconv
import torch

import scenelift
from scenelift.sparse.layers import SubmanifoldConv
from scenelift.sparse.spconv_engine import TESTED_SPCONV, allow_tf32
from tests.scenelift.sparse.test_layers import CHANNELS, scattered

pytestmark = pytest.mark.internals


def test_the_installed_spconv_is_the_one_that_was_tested():
    assert spconv.__version__ in TESTED_SPCONV


def test_a_layer_takes_a_weight_of_another_precision_and_its_gradient_reaches_ours():
    voxels, layer = scattered(), SubmanifoldConv(*CHANNELS, engine="spconv")
    out = layer(voxels.with_features(voxels.features.float())).features
    with torch.no_grad():
        layer.conv.weight *= 2
    again = layer(voxels.with_features(voxels.features.float())).features
    assert torch.allclose(again, 2 * out), "the weight of each call is ours as it is now"
    again.sum().backward()
    assert layer.conv.weight.grad is not None and layer.conv.weight.grad.any()
    assert [name for name, _ in layer.named_parameters()] == ["conv.weight"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU needs its kernels described")
def test_no_gpu_kernel_is_described_where_there_is_no_gpu():
    code = (
        "from scenelift.sparse.layers import SubmanifoldConv; SubmanifoldConv(3, 5, engine='spconv')\n"
        "from spconv import core; assert core.ALL_IMPGEMM_PARAMS == [], 'they are built again'"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(scenelift.__file__).parents[1])}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_a_layer_in_evaluation_mode_makes_gradients_where_some_are_wanted():
    """On a GPU spconv does so in training mode alone; fine-tuning trains a backbone whose norms are fixed."""
    voxels, layer = scattered(), SubmanifoldConv(*CHANNELS, engine="spconv").eval()
    voxels = voxels.with_features(voxels.features.float())
    theirs = layer.conv.__dict__["layer"]
    layer(voxels).features.sum().backward()
    assert theirs.training and layer.conv.weight.grad is not None
    with torch.no_grad():
        layer(voxels)
    assert not theirs.training
    tables = [key for key in voxels.sites.memo if isinstance(key, tuple) and key[0] == "spconv"]
    assert len(tables) == 2, "tables made without gradients are not used where some are wanted"


def test_layers_sum_up_in_float32_and_each_tf32_setting_has_its_own_tuner():
    from spconv import constants
    from spconv.pytorch import ops

    assert SubmanifoldConv(*CHANNELS, engine="spconv").conv.__dict__["layer"].fp32_accum is True
    tuners = {}
    for allowed in (False, True, False):
        allow_tf32(allowed)
        assert constants.SPCONV_ALLOW_TF32 is allowed
        assert tuners.setdefault(allowed, ops.CONV_CPP) is ops.CONV_CPP
    assert tuners[False] is not tuners[True]
