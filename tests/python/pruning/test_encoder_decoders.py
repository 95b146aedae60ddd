"""Models with two stacks of blocks: `prune_` prunes the stack that is named, and refuses to guess."""

import copy
from typing import Any

import pytest
import torch
from pruning_support import TOKENS, LocalClient, require_equal, run, token_batches
from test_block_loop import reference_hessians
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration, WhisperConfig, WhisperForConditionalGeneration


def random_weights(model: Any) -> Any:
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.15)
    return model.eval()


def t5() -> tuple[Any, list[dict[str, Any]], dict[str, str]]:
    torch.manual_seed(0)
    sizes = {"vocab_size": TOKENS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    model = T5ForConditionalGeneration(T5Config(**sizes, pad_token_id=0, decoder_start_token_id=0))
    batches = [
        {"input_ids": inputs, "decoder_input_ids": outputs}
        for inputs, outputs in zip(token_batches(3), token_batches(3, tokens=9, seed=5), strict=True)
    ]
    # Another length needs another position bias, which the first block computes for the others.
    batches[1]["input_ids"] = batches[1]["input_ids"][:, :11]
    return random_weights(model), batches, {"encoder": "encoder.block", "decoder": "decoder.block"}


def whisper() -> tuple[Any, list[dict[str, Any]], dict[str, str]]:
    torch.manual_seed(0)
    sizes = {
        f"{stack}_{name}": size
        for stack in ("encoder", "decoder")
        for name, size in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
    }
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(
        vocab_size=TOKENS, d_model=32, num_mel_bins=8, max_source_positions=20, **sizes, **tokens
    )
    batches = [
        {"input_features": torch.randn(2, 8, 40), "decoder_input_ids": outputs}
        for outputs in token_batches(3, tokens=9)
    ]
    stacks = {"encoder": "model.encoder.layers", "decoder": "model.decoder.layers"}
    return random_weights(WhisperForConditionalGeneration(config)), batches, stacks


@pytest.mark.parametrize("make", [t5, whisper])
def test_two_stacks_are_refused_by_name(make: Any) -> None:
    model, batches, stacks = make()
    listed = " and ".join(rf"{stack} \(2 blocks\)" for stack in stacks.values())
    with pytest.raises(
        ValueError, match=rf"several stacks of blocks, {listed}, and one run prunes one stack"
    ):
        run(model, batches=batches)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
@pytest.mark.parametrize("make", [t5, whisper])
def test_a_stack_that_is_named_is_pruned(make: Any, stack: str) -> None:
    model, batches, stacks = make()
    expected, client = copy.deepcopy(model), LocalClient()
    run(model, client, batches, blocks=model.get_submodule(stacks[stack]), token_weights="none")
    hessians = reference_hessians(expected, expected.get_submodule(stacks[stack]), batches)
    for found, wanted in zip(client.hessians, hessians, strict=True):
        assert (found.double() - wanted).abs().max() < 1e-5 * wanted.abs().max()
    require_equal(model, expected)
