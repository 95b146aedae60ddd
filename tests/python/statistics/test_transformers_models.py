"""The layers of transformers models are recorded, and layers with the same input share a Hessian."""

from collections.abc import Callable

import pytest
import torch
from conftest import MODELS
from pare_llm import HessianRecorder
from statistics_support import TOLERANCE, captured_inputs, largest_deviation, reference_hessian
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel


def trained(name: str) -> nn.Module:
    """Load a trained model of the repository in float32."""
    return AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32).eval()


def gpt2() -> nn.Module:
    """Return a random GPT-2, whose layers are of the class Conv1D."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=32, n_embd=24, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config).eval()


MODELS_AND_GROUPS: list[tuple[Callable[[], nn.Module], str, list[set[str]]]] = [
    (
        lambda: trained("opt-sotu"),
        "model.decoder.layers.2.",
        [
            {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
            {"self_attn.out_proj"},
            {"fc1"},
            {"fc2"},
        ],
    ),
    (
        lambda: trained("llama-sotu"),
        "model.layers.2.",
        [
            {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
            {"self_attn.o_proj"},
            {"mlp.gate_proj", "mlp.up_proj"},
            {"mlp.down_proj"},
        ],
    ),
    (gpt2, "transformer.h.1.", [{"attn.c_attn"}, {"attn.c_proj"}, {"mlp.c_fc"}, {"mlp.c_proj"}]),
]


def padded_batch() -> tuple[Tensor, Tensor]:
    """Return token ids (batch, seq) and their attention mask, with padding on either side."""
    ids = torch.randint(3, 50, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    mask[2, :4] = 0
    return ids, mask


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(("load", "block", "groups"), MODELS_AND_GROUPS, ids=["opt", "llama", "gpt2"])
def test_every_layer_is_recorded_and_shared_inputs_are_recognised(
    load: Callable[[], nn.Module], block: str, groups: list[set[str]], mode: type
) -> None:
    model = load()
    ids, mask = padded_batch()
    recorder = HessianRecorder(model, chunk_tokens=16)
    modules = {name: layer.module for name, layer in recorder.layers.items()}
    with mode(), captured_inputs(modules) as inputs, recorder:
        model(input_ids=ids, attention_mask=mask)
        model(ids[1:2])
    assert recorder.never_called == []
    real = torch.cat([mask.flatten(), torch.ones(11)]).bool()
    for name, hessian in recorder.hessians.items():
        assert hessian.tokens == 25 + 11
        rows = torch.cat([x.reshape(-1, x.shape[-1]) for x in inputs[name]])[real]
        assert largest_deviation(hessian.matrix, reference_hessian([rows])) < TOLERANCE
    by_hessian: dict[int, set[str]] = {}
    for name, hessian in recorder.hessians.items():
        if name.startswith(block):
            by_hessian.setdefault(id(hessian), set()).add(name.removeprefix(block))
    assert sorted(by_hessian.values(), key=sorted) == sorted(groups, key=sorted)
