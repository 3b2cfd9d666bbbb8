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
from scenelift.sparse.spconv_engine import TESTED_SPCONV
from tests.scenelift.sparse.test_layers import CHANNELS, scattered

pytestmark = pytest.mark.internals


def test_the_installed_spconv_is_the_one_that_was_tested():
    assert spconv.__version__ == TESTED_SPCONV


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU needs its kernels described")
def test_no_gpu_kernel_is_described_where_there_is_no_gpu():
    code = (
        "from scenelift.sparse.layers import SubmanifoldConv; SubmanifoldConv(3, 5, engine='spconv')\n"
        "from spconv import core; assert core.ALL_IMPGEMM_PARAMS == [], 'they are built again'"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(scenelift.__file__).parents[1])}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
