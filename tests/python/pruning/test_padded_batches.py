"""Padding that the attention mask of a batch marks is left out of the statistics."""

import pytest
import torch
from pare_llm import prune_
from pruning_support import LocalClient, tiny_model, token_batches
from torch import Tensor
from torch.nn.functional import pad

LENGTHS = (16, 9, 5)


def padded_batch(sequences: list[Tensor], *, left: bool) -> dict[str, Tensor]:
    """Return the sequences as one batch, padded with a token that has an embedding of its own."""
    longest = max(len(sequence) for sequence in sequences)
    amounts = [longest - len(sequence) for sequence in sequences]
    sides = [(amount, 0) if left else (0, amount) for amount in amounts]
    ids = [pad(sequence, side, value=7) for sequence, side in zip(sequences, sides, strict=True)]
    masks = [pad(torch.ones_like(s), side) for s, side in zip(sequences, sides, strict=True)]
    return {"input_ids": torch.stack(ids), "attention_mask": torch.stack(masks)}


@pytest.mark.parametrize("kind", ["llama", "opt", "bloom", "gpt2"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_statistics_of_a_padded_batch_are_those_of_its_sequences(kind: str, left: bool) -> None:
    sequences = [token_batches(1, rows=1, tokens=n, seed=n)[0][0] for n in LENGTHS]
    single, padded = LocalClient(), LocalClient()
    model, other = tiny_model(kind), tiny_model(kind)
    batch = padded_batch(sequences, left=left)
    if kind == "gpt2":  # this model numbers positions without regard to the mask
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    prune_(model, [s[None] for s in sequences], single, method="wanda", progress=False)
    prune_(other, [batch], padded, method="wanda", progress=False)
    for one, both in zip(single.hessians, padded.hessians, strict=True):
        assert (one - both).abs().max() < 1e-4 * one.abs().max()
