"""Mixtures of experts as transformers 5 has them: one module with the weights of all experts of a block.

The parameters of the module have three dimensions. The first one is the expert: `down_proj`, and either
`gate_up_proj` or `up_proj`. The module is called with the tokens, with the experts of each token, and with
the factors of their outputs.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pare_llm.layers.linear_layer import ExpertRole, LinearLayer, full_shape

# Checkpoints of these classes have the names of Mixtral's original code. All other classes have the names of
# the roles.
_MIXTRAL_CLASSES = {"MixtralExperts", "MiniMaxExperts", "MiniMaxM2Experts", "PhimoeExperts"}
_MIXTRAL_NAMES: dict[ExpertRole, str] = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
_MODULE_PLACE, _MIXTRAL_PLACE = "mlp", "block_sparse_moe"


def is_experts(module: nn.Module) -> bool:
    """Return whether `module` stores the weights of all experts of a block."""
    down = getattr(module, "down_proj", None)
    up = getattr(module, "gate_up_proj", getattr(module, "up_proj", None))
    return (
        isinstance(getattr(module, "num_experts", None), int)
        and all(isinstance(values, Tensor) and len(full_shape(values)) == 3 for values in (down, up))
        and len(inspect.signature(module.forward).parameters) == 3
    )


def expert_layers(module: nn.Module) -> Iterator[tuple[str, LinearLayer]]:
    """Yield the layers of all experts, each with what its name adds to the name of the module."""
    names = _MIXTRAL_NAMES if _has_mixtral_names(module) else {}
    first: tuple[ExpertRole, ...] = ("gate_proj", "up_proj") if _has_gate(module) else ("up_proj",)
    for roles in (first, ("down_proj",)):
        for expert in range(_expert_count(module)):
            for role in roles:
                yield f"{expert}.{names.get(role, role)}", LinearLayer(module, role, expert)


def checkpoint_place(module: nn.Module, name: str) -> str:
    """Return the name that the experts module `name` has in checkpoints."""
    parts = name.split(".")
    if _has_mixtral_names(module) and parts[-2:-1] == [_MODULE_PLACE]:
        parts[-2] = _MIXTRAL_PLACE
    return ".".join(parts)


def checkpoint_names(parameter: str) -> list[str]:
    """Return the names that a parameter outside of the experts may have in a checkpoint."""
    renamed = parameter.replace(f"{_MODULE_PLACE}.", f"{_MIXTRAL_PLACE}.", 1)
    return [parameter, renamed]


def is_router(module: nn.Module, parent: nn.Module) -> bool:
    """Return whether `module`, a child of `parent`, decides how much the experts beside it are used.

    Routers stay dense, as in the command line. They have one output for each expert, and the gate of shared
    experts has a single output.
    """
    experts = getattr(parent, "experts", None)
    while isinstance(base := getattr(experts, "base_layer", None), nn.Module):  # inside of an adapter
        experts = base
    if isinstance(experts, nn.ModuleList):
        count = len(experts)
    elif isinstance(experts, nn.Module) and is_experts(experts):
        count = _expert_count(experts)
    else:
        return False
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or len(shape := full_shape(weight)) != 2:
        return False
    return shape[0] in (1, count)


@dataclass(frozen=True)
class Routing:
    """The tokens of one call of an experts module, and their experts."""

    states: Tensor
    """All tokens: (tokens, in)."""
    chosen: Tensor
    """The experts of each token: (tokens, experts per token)."""

    @classmethod
    def of_call(cls, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "Routing":
        """Read the arguments of the call."""
        states, chosen, _ = inspect.signature(module.forward).bind(*args, **kwargs).arguments.values()
        states = states.detach().reshape(-1, states.shape[-1])
        return cls(states, chosen.reshape(len(states), -1))

    def tokens_of(self, expert: int) -> Tensor:
        """Return the indices of the tokens of an expert, which may be none: (tokens of the expert)."""
        return (self.chosen == expert).any(dim=-1).nonzero().squeeze(1)


@torch.no_grad()
def last_layer_inputs(module: Any, expert: int, inputs: Tensor) -> Tensor:
    """Return the inputs of the last layer of an expert (tokens, in) for the inputs of its first layers.

    They exist only inside of the forward pass of the module, so they are computed again.
    """
    name = "gate_up_proj" if _has_gate(module) else "up_proj"
    weight = getattr(module, name)[expert]
    weight = weight.t() if getattr(module, "is_transposed", False) else weight
    biases = getattr(module, f"{name}_bias", None)
    outputs = functional.linear(inputs.to(weight.dtype), weight, None if biases is None else biases[expert])
    if not _has_gate(module):
        result: Tensor = module.act_fn(outputs)
    elif hasattr(module, "_apply_gate"):
        result = module._apply_gate(outputs)
    else:
        gate, up = outputs.chunk(2, dim=-1)
        result = module.act_fn(gate) * up
    return result


def _has_mixtral_names(module: nn.Module) -> bool:
    # `fully_shard` gives a module a new class, which is a subclass of the old one.
    return any(parent.__name__ in _MIXTRAL_CLASSES for parent in type(module).__mro__)


def _has_gate(module: nn.Module) -> bool:
    return hasattr(module, "gate_up_proj")


def _expert_count(module: nn.Module) -> int:
    count: Any = module.num_experts
    return int(count)
