"""Padding is left out of the statistics, wherever the attention mask comes from."""

from typing import Any

import pytest
import torch
from pare_llm import HessianRecorder
from statistics_support import TOLERANCE, largest_deviation, reference_hessian
from torch import Tensor, nn

MASK = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


class Block(nn.Module):
    """A block whose second layer gets its tokens as rows of one matrix, as in OPT."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 4)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Apply both layers."""
        rows = self.first(hidden).reshape(-1, 6)
        return self.second(rows).view(hidden.shape)


class Model(nn.Module):
    """A model that gives its blocks no mask of shape (batch, seq)."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.head = nn.Linear(4, 3)

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor | None = None, last_only: bool = False, **_: Any
    ) -> Tensor:
        """Apply the block and the head."""
        hidden = self.block(
            inputs_embeds, None if attention_mask is None else attention_mask[:, None, None, :]
        )
        return self.head(hidden[:, -1] if last_only else hidden)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("positional", [True, False])
def test_reads_the_mask_of_the_model(dtype: torch.dtype, positional: bool) -> None:
    model, x, mask = Model(), torch.randn(3, 5, 4), MASK.to(dtype)
    with HessianRecorder(model) as recorder:
        if positional:
            model(x, mask)
        else:
            model(attention_mask=mask, inputs_embeds=x)
    real = x[MASK.bool()]
    assert {name: h.tokens for name, h in recorder.hessians.items()} == {
        "block.first": 9,
        "block.second": 9,
        "head": 9,
    }
    assert largest_deviation(recorder.hessians["block.first"].matrix, reference_hessian([real])) < TOLERANCE
    second = reference_hessian([model.block.first(real)])
    assert largest_deviation(recorder.hessians["block.second"].matrix, second) < TOLERANCE


def test_forgets_the_mask_after_the_call() -> None:
    model, x = Model(), torch.randn(3, 5, 4)
    with HessianRecorder(model, ["head"]) as recorder:
        model(x, MASK)
        model(x)
    assert recorder.hessians["head"].tokens == 9 + 15


def test_reads_the_last_columns_of_the_mask_if_a_cache_holds_the_first_tokens() -> None:
    model, x = Model(), torch.randn(3, 2, 4)
    with HessianRecorder(model, ["first"]) as recorder:
        model(x, MASK)
    real = x[MASK[:, -2:].bool()]
    assert recorder.hessians["block.first"].tokens == 4
    assert largest_deviation(recorder.hessians["block.first"].matrix, reference_hessian([real])) < TOLERANCE


def test_takes_the_mask_of_the_caller_for_blocks_that_are_called_alone() -> None:
    model, x = Model(), torch.randn(3, 5, 4)
    with HessianRecorder(model, ["first", "second"]) as recorder:
        recorder.attention_mask = MASK
        model.block(x)
        recorder.attention_mask = None
        model.block(x[:1])
    assert recorder.hessians["block.second"].tokens == 9 + 5


def test_the_mask_of_the_caller_overrides_the_mask_of_the_model() -> None:
    block, x = Block(), torch.randn(3, 5, 4)
    with HessianRecorder(block) as recorder:
        recorder.attention_mask = MASK
        block(x, attention_mask=torch.zeros(3, 1, 5, 5))
    assert recorder.hessians["first"].tokens == 9
    assert recorder.attention_mask is MASK


def test_refuses_blocks_that_are_called_alone_without_a_mask() -> None:
    model = Model()
    with (
        HessianRecorder(model),
        pytest.raises(RuntimeError, match=r"'block\.first': was called outside of a call"),
    ):
        model.block(torch.randn(3, 5, 4))


def test_refuses_masks_without_the_shape_of_a_batch() -> None:
    block = Block()
    with HessianRecorder(block), pytest.raises(ValueError, match=r"has shape \(3, 1, 5, 5\)"):
        block(torch.randn(3, 5, 4), attention_mask=torch.zeros(3, 1, 5, 5))


def test_refuses_inputs_in_which_the_padding_cannot_be_found() -> None:
    model, x = Model(), torch.randn(3, 5, 4)
    message = r"layer 'head': its input has shape \(3, 4\).* mask of shape \(3, 5\) cannot be found"
    with HessianRecorder(model), pytest.raises(ValueError, match=message):
        model(x, MASK, last_only=True)
    with HessianRecorder(model) as recorder:
        model(x, torch.ones_like(MASK), last_only=True)
    assert recorder.hessians["head"].tokens == 3


def test_masks_tokens_with_several_heads() -> None:
    layer, x = nn.Linear(4, 4), torch.randn(3, 5, 2, 4)
    with HessianRecorder(layer) as recorder:
        recorder.attention_mask = MASK
        layer(x)
        layer(x.reshape(1, -1, 4)[:, :15])
    expected = reference_hessian([x[MASK.bool()], x.reshape(-1, 4)[:15][MASK.bool().flatten()]])
    assert recorder.hessians[""].tokens == 18 + 9
    assert largest_deviation(recorder.hessians[""].matrix, expected) < TOLERANCE
