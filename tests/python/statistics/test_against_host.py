"""The recorded statistics are those that a host sums itself from the inputs of a layer."""

import pytest
import torch
from conftest import HostProcess
from pare_llm import HessianRecorder, Pare
from torch import nn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_host_prunes_the_same_with_recorded_statistics_as_with_the_inputs(
    host: HostProcess, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 32).to(dtype)
    mixing = torch.randn(48, 48) * torch.logspace(0, -2, 48)
    x = (torch.randn(4, 40, 48) @ mixing).to(dtype)
    mask = torch.ones(4, 40)
    mask[1, 25:] = 0
    with HessianRecorder(layer) as recorder:
        recorder.attention_mask = mask
        layer(x)
    hessian = recorder.hessians[""]
    pare = Pare(host.url)
    weight = layer.weight.detach()
    expected = pare.prune_layer(weight, inputs=x[mask.bool()])
    packed = pare.prune_layer(weight, hessian_upper=hessian.upper())
    whole = pare.prune_layer(weight, hessian=hessian.matrix)
    assert torch.equal(packed.weight, whole.weight)
    assert torch.equal(packed.mask, expected.mask)
    assert packed.report["loss"] == pytest.approx(expected.report["loss"], rel=1e-4)
    assert torch.allclose(packed.weight.float(), expected.weight.float(), rtol=0.02, atol=1e-3)
