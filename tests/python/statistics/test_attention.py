"""The projections inside `nn.MultiheadAttention` are recorded in every mode of the module."""

from typing import Any

import pytest
import torch
from pare_llm import HessianRecorder
from statistics_support import TOLERANCE, largest_deviation, reference_hessian
from torch import Tensor, nn


def attended(attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the input of the output projection in float64, from batch-first tensors and without masks."""
    size, heads = attention.embed_dim, attention.num_heads
    if attention.in_proj_weight is None:
        weights = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
    else:
        weights = list(attention.in_proj_weight.split(size))
    biases = attention.in_proj_bias.split(size)
    q, k, v = (
        (x.double() @ w.double().t() + b.double()).unflatten(-1, (heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    scores = torch.softmax(q @ k.transpose(-1, -2) / (size // heads) ** 0.5, dim=-1)
    return (scores @ v).transpose(1, 2).flatten(2)


def record(
    attention: nn.MultiheadAttention, *inputs: Tensor, mask: Tensor | None = None, **kwargs: Any
) -> Any:
    """Return the Hessians and the outputs of one call."""
    with HessianRecorder(attention) as recorder:
        recorder.attention_mask = mask
        outputs = attention(*inputs, **kwargs)
    return recorder.hessians, outputs


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@torch.no_grad()
def test_self_attention_shares_one_hessian(
    batch_first: bool, training: bool, grad: bool, need_weights: bool
) -> None:
    """Without gradients, eval mode would take the fast path, which calls no Python code."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).train(training)
    x = torch.randn(3, 5, 8)
    inputs = x if batch_first else x.transpose(0, 1)
    with torch.set_grad_enabled(grad):
        hessians, outputs = record(attention, inputs, inputs, inputs, need_weights=need_weights)
        expected = attention(inputs, inputs, inputs, need_weights=need_weights)
    assert hessians["q_proj"] is hessians["k_proj"] is hessians["v_proj"]
    assert largest_deviation(hessians["q_proj"].matrix, reference_hessian([x])) < TOLERANCE
    reference = reference_hessian([attended(attention, x, x, x)])
    assert largest_deviation(hessians["out_proj"].matrix, reference) < TOLERANCE
    assert hessians["out_proj"].tokens == 15
    assert torch.allclose(outputs[0], expected[0], atol=1e-6)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 10}], ids=["joint", "separate"])
@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_cross_attention_records_each_input(training: bool, sizes: dict[str, int]) -> None:
    torch.manual_seed(1)
    attention = nn.MultiheadAttention(8, 2, batch_first=True, **sizes).train(training)
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    if sizes:
        key, value = torch.randn(2, 4, 6), torch.randn(2, 4, 10)
    hessians, _ = record(attention, query, value=value, key=key)
    for name, x in (("q_proj", query), ("k_proj", key), ("v_proj", value)):
        assert largest_deviation(hessians[name].matrix, reference_hessian([x])) < TOLERANCE
    reference = reference_hessian([attended(attention, query, key, value)])
    assert largest_deviation(hessians["out_proj"].matrix, reference) < TOLERANCE
    assert len({id(hessian) for hessian in hessians.values()}) == 4


@pytest.mark.parametrize("batch_first", [True, False])
@torch.no_grad()
def test_padding_is_left_out_of_all_projections(batch_first: bool) -> None:
    torch.manual_seed(2)
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    x = torch.randn(4, 4, 8)  # as many sequences as tokens, so the order of the dimensions cannot be guessed
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])
    inputs = x if batch_first else x.transpose(0, 1)
    hessians, _ = record(attention, inputs, inputs, inputs, mask=mask, key_padding_mask=mask == 0)
    real = [row[: int(count)] for row, count in zip(x, mask.sum(1), strict=True)]
    outputs = [attended(attention, *[row[None]] * 3) for row in real]
    assert largest_deviation(hessians["q_proj"].matrix, reference_hessian(real)) < TOLERANCE
    assert largest_deviation(hessians["out_proj"].matrix, reference_hessian(outputs)) < TOLERANCE
    assert hessians["v_proj"].tokens == hessians["out_proj"].tokens == 10


@torch.no_grad()
def test_attention_without_batches_is_recorded() -> None:
    attention = nn.MultiheadAttention(8, 2)
    x = torch.randn(5, 8)
    hessians, _ = record(attention, x, x, x)
    assert largest_deviation(hessians["k_proj"].matrix, reference_hessian([x])) < TOLERANCE
    assert hessians["out_proj"].tokens == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.no_grad()
def test_attention_of_other_dtypes_is_summed_in_float32(dtype: torch.dtype) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=dtype).eval()
    x = torch.randn(2, 5, 8, dtype=dtype)
    hessians, _ = record(attention, x, x, x)
    assert hessians["q_proj"].matrix.dtype == torch.float32
    assert largest_deviation(hessians["q_proj"].matrix, reference_hessian([x])) < TOLERANCE
    reference = reference_hessian([attended(attention, x, x, x)])
    assert largest_deviation(hessians["out_proj"].matrix, reference) < (
        0.02 if dtype == torch.bfloat16 else 1e-6
    )


def test_recording_changes_neither_outputs_nor_gradients() -> None:
    torch.manual_seed(3)
    attention = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)
    x = torch.randn(2, 6, 8)
    results = []
    for is_recorded in (False, True):
        attention.zero_grad()
        torch.manual_seed(4)
        outputs = record(attention, x, x, x)[1] if is_recorded else attention(x, x, x)
        outputs[0].square().sum().backward()
        results.append([outputs[0], *[weight.grad.clone() for weight in attention.parameters()]])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@torch.no_grad()
def test_a_default_device_does_not_hide_the_output_projection() -> None:
    """A default device is a mode of torch's functions, as the observation of the output projection is."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    with torch.device("cpu"):
        hessians, _ = record(attention, x, x, x)
    assert hessians["out_proj"].tokens == 10


@torch.no_grad()
def test_two_recorders_record_the_same() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    with HessianRecorder(attention) as outer, HessianRecorder(attention, offload=True) as inner:
        attention(x, x, x)
    for name, hessian in outer.hessians.items():
        assert hessian.tokens == inner.hessians[name].tokens == 10
        assert torch.equal(hessian.matrix, inner.hessians[name].matrix)
    assert len(outer.hessians) == 4


@pytest.mark.parametrize("layers", [None, ["linear1"], ["out_proj"]])
@torch.no_grad()
def test_an_encoder_in_eval_mode_is_recorded(layers: list[str] | None) -> None:
    """The fast path of the encoder packs the batch as a nested tensor and calls no module of its layers."""
    torch.manual_seed(5)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x, padding = torch.randn(3, 6, 8), torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = True
    fast = encoder(x, src_key_padding_mask=padding)
    with HessianRecorder(encoder, layers) as recorder:
        recorder.attention_mask = ~padding
        slow = encoder(x, src_key_padding_mask=padding)
    assert torch.allclose(slow[~padding], fast[~padding], atol=1e-6)
    assert recorder.never_called == []
    assert {hessian.tokens for hessian in recorder.hessians.values()} == {16}
    assert torch.backends.mha.get_fastpath_enabled()
    if layers is None:
        first = recorder.hessians["layers.0.self_attn.q_proj"]
        assert largest_deviation(first.matrix, reference_hessian([x[~padding]])) < TOLERANCE


def test_the_attention_is_restored_after_an_error() -> None:
    attention = nn.MultiheadAttention(8, 2)
    with pytest.raises(AssertionError, match="embedding dimension"), HessianRecorder(attention):
        attention(torch.randn(5, 7), torch.randn(5, 7), torch.randn(5, 7))
    assert "forward" not in vars(attention)
    assert torch.backends.mha.get_fastpath_enabled()
