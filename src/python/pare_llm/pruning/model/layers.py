"""The linear layers of the blocks of a model, and access to their weights, which may be sharded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.sharding import full_tensor, write_tensor
from pare_llm.statistics.layers import LinearLayer, find_layers

_JOINT_ROLES = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Layer:
    """A linear layer of a block."""

    name: str
    """The name of the layer in the model, such as `model.layers.0.self_attn.q_proj`."""
    local_name: str
    """The name of the layer in its block, such as `self_attn.q_proj`."""
    block: Block
    linear: LinearLayer

    @property
    def weight_name(self) -> str:
        """The name of the weight in checkpoints."""
        return f"{self.name}.weight"

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of output and input features."""
        first, second = self._parameter.shape
        if self.linear.role == "conv1d":
            return second, first
        return (first // 3 if self._is_joint else first), second

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weight."""
        return self._parameter.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weight."""
        return self._parameter.device

    @property
    def _parameter(self) -> Tensor:
        """The parameter that holds the weight."""
        module, role = self.linear.module, self.linear.role
        if role in ("linear", "conv1d"):
            return cast(Tensor, module.weight)
        attention = cast(nn.MultiheadAttention, module)
        if role == "out_proj":
            return attention.out_proj.weight
        joint = attention.in_proj_weight
        return cast(Tensor, getattr(attention, f"{role}_weight")) if joint is None else joint

    @property
    def _is_joint(self) -> bool:
        """Whether the parameter holds three weights one below the other, as `in_proj_weight` does."""
        is_projection = self.linear.role in _JOINT_ROLES
        return is_projection and getattr(self.linear.module, "in_proj_weight", None) is not None

    @property
    def _rows(self) -> slice:
        """The rows of the parameter that are the weight."""
        if not self._is_joint:
            return slice(None)
        position, rows = _JOINT_ROLES.index(self.linear.role), self.shape[0]
        return slice(position * rows, (position + 1) * rows)

    def read(self) -> Tensor:
        """Return the weight (out, in), detached.

        If the model is sharded, every rank has to call this method.
        """
        values = full_tensor(self._parameter)
        return values.t() if self.linear.role == "conv1d" else values[self._rows]

    def write(self, weight: Tensor) -> None:
        """Replace the weight in place by `weight` (out, in), converted to the dtype of the model.

        If the model is sharded, every rank has to call this method.
        """
        parameter, rows = self._parameter, self._rows
        if self.linear.role == "conv1d":
            values = weight.t()
        elif not self._is_joint:
            values = weight
        else:
            values = full_tensor(parameter).clone()
            values[rows] = weight.to(values.device, values.dtype)
        write_tensor(parameter, values)


def linear_layers(model: nn.Module, blocks: Iterable[Block]) -> list[Layer]:
    """Return the layers of `blocks` that can be pruned, in the order of the modules.

    `find_layers` of `pare_llm.statistics` describes which modules are layers. The token embeddings and the
    output head of the model are left out, even if a block contains them. A layer that several blocks share
    belongs to the first.
    """
    excluded = _embedding_weights(model)
    layers: dict[LinearLayer, Layer] = {}
    seen: set[int] = set()
    for block in blocks:
        for local_name, linear in find_layers(block.module).items():
            name = ".".join(part for part in (block.name, local_name) if part)
            layer = Layer(name, local_name, block, linear)
            identity = id(layer._parameter)
            if identity in excluded or (linear.role in ("linear", "conv1d") and identity in seen):
                continue
            seen.add(identity)
            layers[linear] = layer
    return list(layers.values())


def by_block(layers: Sequence[Layer]) -> dict[int, list[Layer]]:
    """Group layers by the index of their block."""
    groups: dict[int, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.block.index, []).append(layer)
    return groups


def _embedding_weights(model: nn.Module) -> set[int]:
    """Return the ids of the weights of the token embeddings and of the output head."""
    modules: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    get_head = getattr(model, "get_output_embeddings", None)
    if callable(get_head) and (head := get_head()) is not None:
        modules.append(head)
    return {id(module.weight) for module in modules}
