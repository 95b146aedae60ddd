"""The embedding and the transformer block of OPT and of LLaMA in PyTorch, for `reference_model.py`.

A family has a prefix (the name of its blocks in a checkpoint), groups of linear layers that share an input, and two functions:

- embed(tensors, windows) returns the hidden states (windows, tokens, hidden) f32 of token ids (windows, tokens).
- forward(weights, x, config, tap, stop) runs one block on hidden states x, and calls `tap` with the input of each group. With `stop`, it
  returns None after the last of these calls. `weights` has the tensors of the block in f32, without the prefix in their names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

Weights = dict[str, torch.Tensor]
Config = dict[str, Any]
# A function that is called with the input of each group. The group is named by its first layer.
Tap = Callable[[str, torch.Tensor], None]

OPT_POSITION_OFFSET = 2


@dataclass(frozen=True)
class Family:
    prefix: str
    groups: tuple[tuple[str, ...], ...]
    embed: Callable[[Weights, torch.Tensor], torch.Tensor]
    forward: Callable[..., torch.Tensor | None]


def ignore(name: str, x: torch.Tensor) -> None:
    """A tap that does nothing."""


def linear(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    windows, tokens, _ = x.shape
    return x.view(windows, tokens, heads, -1).transpose(1, 2)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return attended.transpose(1, 2).flatten(2)


OPT_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def embed_opt(tensors: Weights, windows: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(windows.shape[1]) + OPT_POSITION_OFFSET
    offset = tensors["model.decoder.embed_positions.weight"][positions].float()
    return tensors["model.decoder.embed_tokens.weight"][windows].float() + offset


def forward_opt(weights: Weights, x: torch.Tensor, config: Config, tap: Tap = ignore, stop: bool = False) -> torch.Tensor | None:
    heads, hidden = config["num_attention_heads"], x.shape[2]

    def norm(name: str, y: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(y, (hidden,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    normed = norm("self_attn_layer_norm", x)
    tap(OPT_QKV[0], normed)
    attended = attend(*(split_heads(linear(weights, name, normed), heads) for name in OPT_QKV))
    tap("self_attn.out_proj", attended)
    x = x + linear(weights, "self_attn.out_proj", attended)
    normed = norm("final_layer_norm", x)
    tap("fc1", normed)
    inner = functional.relu_(linear(weights, "fc1", normed))
    tap("fc2", inner)
    return None if stop else x + linear(weights, "fc2", inner)


LLAMA_QKV = OPT_QKV
LLAMA_MLP = ("mlp.gate_proj", "mlp.up_proj")


def embed_llama(tensors: Weights, windows: torch.Tensor) -> torch.Tensor:
    return tensors["model.embed_tokens.weight"][windows].float()


def rotate(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Applies rotary position embeddings to x (windows, heads, tokens, size).

    The elements j and j + size/2 are the two coordinates of a pair.
    """
    tokens, size = x.shape[2:]
    frequencies = theta ** (-torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(tokens), frequencies)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def forward_llama(weights: Weights, x: torch.Tensor, config: Config, tap: Tap = ignore, stop: bool = False) -> torch.Tensor | None:
    heads, theta = config["num_attention_heads"], config["rope_theta"]

    def norm(name: str, y: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(y, (y.shape[2],), weights[f"{name}.weight"], config["rms_norm_eps"])

    normed = norm("input_layernorm", x)
    tap(LLAMA_QKV[0], normed)
    q, k, v = (split_heads(linear(weights, name, normed), heads) for name in LLAMA_QKV)
    attended = attend(rotate(q, theta), rotate(k, theta), v)
    tap("self_attn.o_proj", attended)
    x = x + linear(weights, "self_attn.o_proj", attended)
    normed = norm("post_attention_layernorm", x)
    tap(LLAMA_MLP[0], normed)
    inner = functional.silu(linear(weights, "mlp.gate_proj", normed)).mul_(linear(weights, "mlp.up_proj", normed))
    tap("mlp.down_proj", inner)
    return None if stop else x + linear(weights, "mlp.down_proj", inner)


FAMILIES = {
    "opt": Family("model.decoder.layers.", (OPT_QKV, ("self_attn.out_proj",), ("fc1",), ("fc2",)), embed_opt, forward_opt),
    "llama": Family(
        "model.layers.", (LLAMA_QKV, ("self_attn.o_proj",), LLAMA_MLP, ("mlp.down_proj",)), embed_llama, forward_llama
    ),
}
