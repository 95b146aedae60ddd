"""The linear layers of the blocks of a model, and access to their weights, which may be sharded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pare_llm.layers.find_layers import checkpoint_name, embedding_weights, find_layers, other_matrices
from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.sharding import full_tensor, is_shard, write_shard


@dataclass(frozen=True)
class Layer:
    """A linear layer of a block."""

    name: str
    """The name of the layer in checkpoints, such as `model.layers.0.self_attn.q_proj`."""
    local_name: str
    """The name of the layer in its block, such as `self_attn.q_proj`."""
    block: Block
    linear: LinearLayer

    @property
    def weight_name(self) -> str:
        return f"{self.name}.weight"

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of output and input features."""
        return self.linear.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.linear.parameter.dtype

    @property
    def device(self) -> torch.device:
        return self.linear.parameter.device

    def read(self) -> Tensor:
        """Return the weight (out, in), detached. If the model is sharded, every rank has to call this."""
        parameter = self.linear.parameter
        weight = self.linear.part(full_tensor(parameter))
        # A view would keep the whole gathered parameter alive, which also holds other layers.
        return weight.clone() if self.linear.is_part and is_shard(parameter) else weight

    def write(self, weight: Tensor) -> None:
        """Replace the weight in place, in the model's dtype. If it is sharded, every rank must call this."""
        parameter = self.linear.parameter
        if not is_shard(parameter):
            self.linear.part(parameter.detach()).copy_(weight)
            return
        values = (
            full_tensor(parameter)
            if self.linear.is_part
            else torch.empty(parameter.shape, dtype=weight.dtype, device=weight.device)
        )
        self.linear.part(values).copy_(weight)
        write_shard(parameter, values)


def linear_layers(model: nn.Module, blocks: Iterable[Block]) -> list[Layer]:
    """Return the layers of `blocks` that can be pruned (see `find_layers`), in the order of the modules.

    Token embeddings and the output head are left out. A layer in several blocks belongs to the first.
    """
    excluded = embedding_weights(model)
    layers: dict[LinearLayer, Layer] = {}
    seen: set[int] = set()
    for block in blocks:
        for local_name, linear in find_layers(block.module).items():
            name = ".".join(filter(None, (checkpoint_name(block.name), local_name)))
            identity = id(linear.parameter)
            if identity in excluded or (identity in seen and not linear.is_part):
                continue
            seen.add(identity)
            layers[linear] = Layer(name, local_name, block, linear)
    return list(layers.values())


def matrices_outside(model: nn.Module, blocks: Iterable[Block], layers: Iterable[Layer]) -> list[str]:
    """Return the names of the matrices in the blocks that `other_matrices` finds beside `layers`."""
    embeddings, linear = embedding_weights(model), [layer.linear for layer in layers]
    return [
        ".".join(filter(None, (checkpoint_name(block.name), name)))
        for block in blocks
        for name in other_matrices(block.module, linear, embeddings)
    ]


def matrix_names(model: nn.Module) -> list[str]:
    """Return the names of all modules with a matrix as their weight, also if they are never pruned."""
    return [
        checkpoint_name(name)
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) > 1
    ]


def by_block(layers: Sequence[Layer]) -> dict[int, list[Layer]]:
    """Group layers by the index of their block."""
    groups: dict[int, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.block.index, []).append(layer)
    return groups
