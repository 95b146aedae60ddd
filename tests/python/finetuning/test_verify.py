"""verify on whole models."""

from collections.abc import Callable

import pytest
import torch
from pare_llm import verify
from pruned_networks import tiny_opt
from torch import nn
from torch.nn.utils import parametrizations, prune
from transformers.pytorch_utils import Conv1D


def two_of_four(rows: int, columns: int) -> torch.Tensor:
    """Return random weights of which the two smallest of every four neighbours in a row are zero."""
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) + 0.01
    groups = values.view(rows, -1, 4)
    groups.scatter_(2, groups.abs().argsort(2)[..., :2], 0.0)
    return values


def linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight)
    return layer


def test_two_of_four_is_checked_along_the_inputs() -> None:
    model = nn.Sequential(linear(two_of_four(6, 8)), linear(two_of_four(8, 4)))
    result = verify(model, "2:4")
    assert result.ok
    assert {name: (count.zeros, count.entries) for name, count in result.counts.items()} == {
        "0.weight": (24, 48),
        "1.weight": (16, 32),
    }
    assert result.counts["0.weight"].sparsity == 0.5
    assert str(result) == "40 of 80 entries of 2 weights are zero"


def test_two_of_four_across_the_outputs_fails() -> None:
    model = nn.Sequential(linear(two_of_four(8, 4).t().contiguous()))
    assert not verify(model, "2:4").ok


def test_conv1d_is_checked_along_its_first_dimension() -> None:
    layer = Conv1D(8, 4)
    layer.weight = nn.Parameter(two_of_four(8, 4).t().contiguous())
    assert verify(nn.Sequential(layer), "2:4").ok
    layer.weight = nn.Parameter(two_of_four(4, 8))
    assert not verify(nn.Sequential(layer), "2:4").ok


def test_failure_names_the_first_group_that_breaks_the_pattern() -> None:
    model = nn.Sequential(linear(two_of_four(6, 8)))
    with torch.no_grad():
        model[0].weight[3, 4:7] = 1.0
        model[0].weight[5] = 1.0
    result = verify(model, "2:4")
    assert result.failures == {
        "0.weight": "3 of 12 groups of 4 inputs break 2:4; the first is in output 3 from input 4 and has 3 "
        "nonzeros"
    } or result.failures["0.weight"].startswith(
        "3 of 12 groups of 4 inputs break 2:4; the first is in output 3"
    )
    assert not result.ok


@pytest.mark.parametrize(("rest", "allowed"), [(1, 1), (2, 1), (3, 2)])
def test_incomplete_group_at_the_end_may_keep_its_share_rounded_up(rest: int, allowed: int) -> None:
    weight = torch.zeros(1, 4 + rest)
    weight[0, 4 : 4 + allowed] = 1.0
    assert verify(linear(weight), "2:4").ok
    if allowed < rest:
        weight[0, 4 : 5 + allowed] = 1.0
        assert not verify(linear(weight), "2:4").ok


def test_sparsity_needs_the_rounded_number_of_zeros() -> None:
    weight = torch.ones(3, 5)
    weight.view(-1)[:8] = 0.0  # round(0.5 · 15) is 8
    assert verify(linear(weight)).ok
    weight[-1, -1], weight[0, 0] = -0.0, 1.0
    assert verify(linear(weight)).ok
    weight[0, 1] = 1.0
    assert verify(linear(weight)).failures == {
        "weight": "has 7 zeros of 15 entries, but a sparsity of 0.5 needs 8"
    }
    assert verify(linear(weight), sparsity=0.4).ok


def test_output_layer_of_transformers_is_not_checked_unless_it_is_named() -> None:
    model = tiny_opt(tie_word_embeddings=False)
    with torch.no_grad():
        for parameter in model.model.decoder.layers.parameters():
            if parameter.dim() == 2:
                parameter.copy_(two_of_four(*parameter.shape))
    assert verify(model, "2:4").ok
    assert list(verify(model, "2:4", layers="lm_head").failures) == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "4:2"}, 'pattern: must be "unstructured" or n:m with 0 < n < m, not "4:2"'),
        ({"pattern": "half"}, 'not "half"'),
        ({"sparsity": 1.5}, "sparsity: must be from 0 to 1, not 1.5"),
    ],
)
def test_malformed_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify(nn.Linear(4, 4), **arguments)  # type: ignore[arg-type]


def test_model_without_linear_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="verify: the model has no linear weight"):
        verify(nn.LayerNorm(4))


@pytest.mark.parametrize(
    ("compute", "advice"),
    [
        (lambda layer: prune.random_unstructured(layer, "weight", 0.5), "torch.nn.utils.prune.remove"),
        (parametrizations.spectral_norm, "torch.nn.utils.parametrize.remove_parametrizations"),
    ],
)
def test_a_weight_that_is_computed_for_each_call_is_refused(
    compute: Callable[[nn.Module], object], advice: str
) -> None:
    model = nn.Sequential(linear(two_of_four(6, 8)), linear(two_of_four(8, 4)))
    compute(model[1])
    with pytest.raises(ValueError, match=f"^1: its weight is computed from other tensors .* call {advice}"):
        verify(model)
