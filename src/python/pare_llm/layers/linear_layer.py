"""A linear layer of a model, and its weight as a view of the parameter that holds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

AttentionRole = Literal["q_proj", "k_proj", "v_proj", "out_proj"]
"""A projection of an `nn.MultiheadAttention`."""

ExpertRole = Literal["gate_proj", "up_proj", "down_proj"]
"""A layer of each expert in a module that stores the weights of all experts in parameters of 3 dimensions."""

Role = Literal["linear", "conv1d"] | AttentionRole | ExpertRole
"""How a layer computes its output: the class of its module, or its part of the module."""

ATTENTION_ROLES: tuple[AttentionRole, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")

LISTED_NAMES = 5


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A linear layer: a module, or a part of a module that has several layers.

    Layers are compared by identity, and a module that has several names has one layer.
    """

    module: nn.Module
    role: Role
    expert: int | None = None
    """The index of the expert that the layer belongs to, if the module stores several experts."""

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that holds the weight now. FSDP2 replaces parameters while a module runs."""
        if self.expert is not None:
            joint = self.role != "down_proj" and hasattr(self.module, "gate_up_proj")
            return cast(nn.Parameter, getattr(self.module, "gate_up_proj" if joint else self.role))
        if isinstance(self.module, nn.MultiheadAttention):
            if self.role == "out_proj":
                return cast(nn.Parameter, self.module.out_proj.weight)
            joint_weight = cast("nn.Parameter | None", self.module.in_proj_weight)
            if joint_weight is not None:
                return joint_weight
            return cast(nn.Parameter, getattr(self.module, f"{self.role}_weight"))
        return cast(nn.Parameter, self.module.weight)

    @property
    def is_part(self) -> bool:
        """Whether the parameter holds the weights of other layers too."""
        if self.expert is not None:
            return True
        return (
            self.role in ("q_proj", "k_proj", "v_proj")
            and getattr(self.module, "in_proj_weight", None) is not None
        )

    def part(self, values: Tensor) -> Tensor:
        """Return the weight (out, in) as a view of `values`, which have the shape of the whole parameter."""
        if self.expert is not None:
            return self._part_of_expert(values[self.expert])
        if self.role == "conv1d":
            return values.t()
        if self.is_part:
            return values.chunk(3)[ATTENTION_ROLES.index(cast(AttentionRole, self.role))]
        return values

    def _part_of_expert(self, values: Tensor) -> Tensor:
        """Return one expert's part. transformers says if it is transposed, and if gate and up alternate."""
        rows = values.t() if getattr(self.module, "is_transposed", False) else values
        if self.role == "down_proj" or not hasattr(self.module, "gate_up_proj"):
            return rows
        position = 0 if self.role == "gate_proj" else 1
        is_concatenated = getattr(self.module, "is_concatenated", True)
        return rows.chunk(2)[position] if is_concatenated else rows[position::2]

    @property
    def weight(self) -> Tensor:
        """The weight (out, in), a view of the parameter: writing to it changes the model."""
        return self.part(self.parameter)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of outputs and inputs."""
        rows, columns = self.part(torch.empty(full_shape(self.parameter), device="meta")).shape
        return rows, columns

    @property
    def in_features(self) -> int:
        if isinstance(self.module, nn.Linear):
            # The weights of quantized subclasses are packed, so their shapes are different.
            return self.module.in_features
        return self.shape[1]


# How to store a weight that a hook of these classes computes before each call.
_REMOVALS = {
    "WeightNorm": "torch.nn.utils.remove_weight_norm(module)",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm(module)",
    "BasePruningMethod": "torch.nn.utils.prune.remove(module, 'weight')",
}


def require_stored(name: str, layer: LinearLayer) -> None:
    """Raise a ValueError if the weight of the layer `name` is computed from other tensors for each call.

    Whatever is written to such a weight is lost at the next call.
    """
    weight, parts = layer.parameter, list(layer.module.modules())
    if any(each is weight for part in parts for each in part._parameters.values()):
        return
    hooks = [type(hook) for part in parts for hook in part._forward_pre_hooks.values()]
    classes = {parent.__name__ for kind in hooks for parent in kind.__mro__}
    calls = [call for name, call in _REMOVALS.items() if name in classes]
    calls = calls or ["torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')"]
    raise ValueError(
        f"{name}: its weight is computed from other tensors for each call, so zeros in it would be lost; "
        f"call {calls[0]} first"
    )


def full_shape(parameter: Tensor) -> torch.Size:
    """Return the shape of the whole parameter, also if DeepSpeed ZeRO-3 has partitioned it."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def list_names(names: Sequence[str]) -> str:
    """Return the first names of layers, and how many more there are, for error messages."""
    more = f" and {len(names) - LISTED_NAMES} more" if len(names) > LISTED_NAMES else ""
    return ", ".join(map(repr, names[:LISTED_NAMES])) + more
