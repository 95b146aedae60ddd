"""The masks of a model while it is trained, and the hooks that apply them."""

import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from pare_llm.finetuning.model_weights import ModelWeight, is_sharded, local_shard
from pare_llm.finetuning.packed_mask import PackedMask
from pare_llm.layers.find_layers import embedding_weights, other_matrices
from pare_llm.layers.linear_layer import list_names
from pare_llm.layers.unwrap import unwrap


@dataclass(frozen=True)
class ZeroCount:
    """The number of zeros of one weight, and the number of its entries."""

    zeros: int
    entries: int

    @property
    def sparsity(self) -> float:
        """The fraction of entries that are zero."""
        return self.zeros / self.entries if self.entries else 0.0


@dataclass
class Verification:
    """The zeros of some weights, and the weights that broke the rule."""

    # The zeros of each checked weight, by its name.
    counts: dict[str, ZeroCount] = field(default_factory=dict)
    # For each weight that broke the rule, a sentence that says how.
    failures: dict[str, str] = field(default_factory=dict)
    # Matrices that were not checked, because they are not weights of linear layers.
    unchecked: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every weight keeps the rule."""
        return not self.failures

    def __str__(self) -> str:
        """Return the total number of zeros, each failure, and the unchecked matrices, in lines."""
        zeros = sum(count.zeros for count in self.counts.values())
        entries = sum(count.entries for count in self.counts.values())
        summary = f"{zeros} of {entries} entries of {len(self.counts)} weights are zero"
        failures = [f"{name}: {text}" for name, text in self.failures.items()]
        others = [f"not checked: {', '.join(self.unchecked)}"] if self.unchecked else []
        return "\n".join([summary, *failures, *others])


_REPLACED = (
    "is not a parameter of the model any more, so its zeros are not kept; call keep_zeros after fully_shard, "
    "load_state_dict(assign=True) and anything else that replaces parameters"
)


class KeptZeros:
    """Keeps the zeros of some weights until `remove` is called. `keep_zeros` returns such an object.

    The object is also a context manager, which calls `remove` at its end. A mask covers the part of a weight
    that this process stores, so no method communicates with other processes.
    """

    def __init__(self, model: nn.Module, weights: list[ModelWeight], *, named: bool) -> None:
        """Make the masks of the `weights` that have zeros. `named` says whether the user named the weights.

        Raises a ValueError if no entry is masked, if a weight is on the meta device, if a named weight has no
        zero, or if a weight that was not named has only zeros.
        """
        self._model = model
        self.parameters: dict[str, nn.Parameter] = {}
        self.masks: dict[str, PackedMask] = {}
        self.removals = ExitStack()
        for weight in weights:
            self._add(weight, named)
        if not named:
            _warn_of_other_zeros(model, weights)
        stored = sum(local_shard(weight.parameter).numel() for weight in weights)
        # A process that stores no entry of the weights has nothing to mask.
        if not any(mask.zeros for mask in self.masks.values()) and (stored or not weights):
            raise ValueError(
                f"keep_zeros: none of {len(weights)} weights has a zero; load the pruned weights first"
            )

    def _add(self, weight: ModelWeight, named: bool) -> None:
        if weight.parameter.is_meta:
            raise ValueError(
                f"{weight.name}: is on the meta device; load the pruned weights before keep_zeros"
            )
        mask = PackedMask(local_shard(weight.parameter))
        if not is_sharded(weight.parameter):
            if named and mask.zeros == 0:
                raise ValueError(f"{weight.name}: has no zero; load the pruned weights before keep_zeros")
            if not named and mask.zeros == mask.entries > 0:
                raise ValueError(
                    f"{weight.name}: all its entries are zero, so keeping the zeros would stop its training; "
                    "name the pruned weights with layers= or folder="
                )
        if named or mask.zeros:
            self.parameters[weight.name] = weight.parameter
            self.masks[weight.name] = mask

    def hook_gradients(self) -> None:
        """Set the masked gradients to zero whenever backward has accumulated the gradient of a weight."""
        for name, parameter in self.parameters.items():
            # A hook can only be registered on a parameter that requires a gradient. If the parameter is
            # frozen, the hook stays, and works when the parameter is trained later.
            required = parameter.requires_grad
            hook = partial(_zero_gradient, self.masks[name])
            parameter.requires_grad_()
            handle = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
            parameter.requires_grad_(required)
            self.removals.callback(handle.remove)

    @torch.no_grad()
    def apply(self) -> None:
        """Set the masked entries of the weights to zero now.

        The hooks call this method after each step of the optimizer. Call it yourself after anything else that
        writes to the weights, such as an optimizer that swaps in averaged weights for evaluation.

        Raises:
            RuntimeError: If the model no longer has one of the parameters, so its zeros would be lost.
        """
        if replaced := self._replaced_parameters():
            raise RuntimeError(f"keep_zeros: {replaced[0]} {_REPLACED}")
        for name, mask in self.masks.items():
            mask.zero_(local_shard(self.parameters[name]))

    @torch.no_grad()
    def verify(self) -> Verification:
        """Check that every masked entry is zero now. Counts the entries that this process stores.

        A weight also fails if its parameter has been replaced since the masks were made.
        """
        result = Verification(failures=dict.fromkeys(self._replaced_parameters(), _REPLACED))
        for name, mask in self.masks.items():
            if name in result.failures:
                continue
            values = local_shard(self.parameters[name])
            zeros = values.numel() - int(torch.count_nonzero(values))
            result.counts[name] = ZeroCount(zeros, values.numel())
            nonzeros = mask.count_nonzeros(values)
            if nonzeros:
                result.failures[name] = f"{nonzeros} of {mask.zeros} pruned entries are not zero"
        return result

    def _replaced_parameters(self) -> list[str]:
        """List the names of the masked parameters that the model no longer has."""

        def missing() -> list[str]:
            current = {id(parameter) for parameter in self._model.parameters()}
            return [name for name, parameter in self.parameters.items() if id(parameter) not in current]

        names = missing()
        sharded = [module for module in self._model.modules() if isinstance(module, FSDPModule)]
        if names and sharded:
            # Between a forward pass and its backward, FSDP2 has gathered parameters in place of the shards.
            for module in sharded:
                module.reshard()
            names = missing()
        return names

    def remove(self) -> None:
        """Remove all hooks. From now on, training changes the pruned weights. Idempotent."""
        self.removals.close()

    def __enter__(self) -> "KeptZeros":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        zeros = sum(mask.zeros for mask in self.masks.values())
        entries = sum(mask.entries for mask in self.masks.values())
        return f"KeptZeros({zeros} of {entries} entries of {len(self.masks)} weights)"


def _warn_of_other_zeros(model: nn.Module, weights: list[ModelWeight]) -> None:
    """Warn of matrices with zeros that are not masked, because they are not weights of linear layers."""
    network = unwrap(model)
    layers = [layer for weight in weights for layer in weight.layers.values()]
    others = other_matrices(network, layers, embedding_weights(network))
    names = [
        name
        for name, values in others.items()
        if not values.is_meta and PackedMask(local_shard(values)).zeros
    ]
    if names:
        warnings.warn(
            f"keep_zeros: does not keep the zeros of {list_names(names)}, which are not weights of linear "
            "layers",
            stacklevel=4,
        )


@torch.no_grad()
def _zero_gradient(mask: PackedMask, parameter: torch.Tensor) -> None:
    if parameter.grad is not None:
        mask.zero_(local_shard(parameter.grad))
