"""Finds the linear layers of a model whose inputs can be recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

Role = Literal["linear", "conv1d", "q_proj", "k_proj", "v_proj", "out_proj"]
"""How a layer computes its output: the class of its module, or one of the projections of attention."""

ATTENTION_ROLES: tuple[Role, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")

LISTED_NAMES = 5
"""How many names an error message lists."""


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A linear layer: a module, or one projection of an `nn.MultiheadAttention`.

    Layers are compared by identity, and a module that has several names has one layer.
    """

    module: nn.Module
    role: Role

    @property
    def weight(self) -> Tensor:
        """The weight with shape (out, in).

        The weight is a view of the parameter, so writing to the weight changes the model.
        """
        attention = cast(nn.MultiheadAttention, self.module)
        if self.role == "linear":
            return cast(Tensor, self.module.weight)
        if self.role == "conv1d":
            return cast(Tensor, self.module.weight).t()
        if self.role == "out_proj":
            return attention.out_proj.weight
        if attention.in_proj_weight is None:
            return cast(Tensor, getattr(attention, f"{self.role}_weight"))
        return attention.in_proj_weight.chunk(3)[ATTENTION_ROLES.index(self.role)]

    @property
    def in_features(self) -> int:
        """The number of inputs."""
        if isinstance(self.module, nn.MultiheadAttention):
            sizes: dict[Role, int] = {"k_proj": self.module.kdim, "v_proj": self.module.vdim}
            return sizes.get(self.role, int(self.module.embed_dim))
        if isinstance(self.module, nn.Linear):
            # The weights of quantized subclasses are packed, so their shapes are different.
            return self.module.in_features
        return cast(Tensor, self.module.weight).shape[0]


def find_layers(model: nn.Module) -> dict[str, LinearLayer]:
    """Return the linear layers of a model by name, in the order of its modules.

    A layer has the name of its module in `model.named_modules()`. The projections of an
    `nn.MultiheadAttention` named A are A.q_proj, A.k_proj, A.v_proj and A.out_proj, whether the module stores
    their weights jointly as `in_proj_weight` or one by one. A module that is registered under several names
    appears under each of them, with the same `LinearLayer`.

    Experts whose weights are stored as one tensor with three dimensions, as in Mixtral of transformers 5, are
    not found.
    """
    layers: dict[str, LinearLayer] = {}
    by_module: dict[nn.Module, dict[str, LinearLayer]] = {}
    attention_outputs: set[nn.Module] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        if module in attention_outputs:
            continue
        if isinstance(module, nn.MultiheadAttention):
            attention_outputs.add(module.out_proj)
        if module not in by_module:
            by_module[module] = dict(_layers_of(module))
        for suffix, layer in by_module[module].items():
            layers[".".join(filter(None, (name, suffix)))] = layer
    return layers


def list_names(names: Sequence[str]) -> str:
    """Return the first names of layers, and how many more there are, for error messages."""
    more = f" and {len(names) - LISTED_NAMES} more" if len(names) > LISTED_NAMES else ""
    return ", ".join(map(repr, names[:LISTED_NAMES])) + more


def _layers_of(module: nn.Module) -> Iterator[tuple[str, LinearLayer]]:
    """Yield the layers of one module, each with what its name adds to the name of the module."""
    if isinstance(module, nn.MultiheadAttention):
        for role in ATTENTION_ROLES:
            yield role, LinearLayer(module, role)
    elif isinstance(module, nn.Linear):
        yield "", LinearLayer(module, "linear")
    elif any(parent.__name__ == "Conv1D" for parent in type(module).__mro__):
        # The class of transformers, recognised by its name so that transformers is not imported.
        yield "", LinearLayer(module, "conv1d")
