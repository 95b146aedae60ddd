"""Keeps zeros under DeepSpeed, whose optimizers own the gradients and an f32 copy of the weights.

ZeRO-1 and ZeRO-2, and DeepSpeed's optimizers for BF16 and FP16, leave the whole weight on each process, and
each process updates a fragment of the f32 copy. The mask covers the whole weight. The gradient is masked
before DeepSpeed's own hooks see it.

ZeRO-3 leaves one partition of the weight on each process, and the mask covers this partition. The gradient is
masked in DeepSpeed's local partition after backward, before the step clips it. ZeRO-3 copies small weights,
which it keeps gathered, from the partitions inside the step. Their masked entries stay zero if the optimizer
treats each entry by itself. Adam and SGD do, and Muon does not.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pare_llm.finetuning.kept_zeros import KeptZeros
from pare_llm.finetuning.packed_mask import PackedMask


def is_deepspeed_optimizer(optimizer: object) -> bool:
    """Whether `optimizer` wraps a torch optimizer for DeepSpeed. DeepSpeed is not imported to find out."""
    return any(base.__name__ == "DeepSpeedOptimizer" for base in type(optimizer).__mro__)


def hook_deepspeed(zeros: KeptZeros, optimizer: Any) -> None:
    """Apply the masks of `zeros` before and after each step of `engine.optimizer`.

    `optimizer.step` is replaced by a function that calls it, because DeepSpeed's optimizers have no hooks.
    """
    pairs = [(zeros.parameters[name], mask) for name, mask in zeros.masks.items()]
    partitioned = [pair for pair in pairs if hasattr(pair[0], "ds_id")]
    whole = [pair for pair in pairs if not hasattr(pair[0], "ds_id")]
    for parameter, mask in whole:
        if parameter.requires_grad:
            handle = parameter.register_hook(_masked_copy(mask))  # type: ignore[no-untyped-call]
            zeros.removals.callback(handle.remove)
    step: Callable[..., Any] = optimizer.step

    def zero_weights() -> None:
        _zero_fragments(whole)
        _zero_partitions(partitioned)
        zeros.apply()

    def masked_step(*arguments: Any, **named: Any) -> Any:
        _zero_partitioned_gradients(partitioned)
        result = step(*arguments, **named)
        zero_weights()
        return result

    zero_weights()  # the f32 copy may come from a checkpoint of dense training
    optimizer.step = masked_step
    zeros.removals.callback(setattr, optimizer, "step", step)


def _masked_copy(mask: PackedMask) -> Callable[[Tensor], Tensor]:
    """Return a hook that copies the gradient of a weight and sets the masked entries of the copy to zero."""

    def hook(gradient: Tensor) -> Tensor:
        masked = gradient.clone()
        mask.zero_(masked)
        return masked

    return hook


@torch.no_grad()
def _zero_fragments(weights: list[tuple[nn.Parameter, PackedMask]]) -> None:
    """Set the masked entries of the f32 copy to zero.

    The function writes to the fragment of this process, as `deepspeed.utils.safe_set_full_fp32_param` does.
    Its counterpart `safe_get_full_fp32_param` is not used, because it sums the weight over all processes.
    """
    for parameter, mask in weights:
        fragment = getattr(parameter, "_hp_mapping", None)  # None if this process has no part of the weight
        if fragment is not None:
            mask.zero_(fragment.get_hp_fragment().view(-1), fragment.lp_fragment_address.start)


@torch.no_grad()
def _zero_partitioned_gradients(weights: list[tuple[nn.Parameter, PackedMask]]) -> None:
    if not weights:
        return
    from deepspeed.utils import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        safe_get_local_grad,
        safe_set_local_grad,
    )

    for parameter, mask in weights:
        if parameter.requires_grad:
            gradient = safe_get_local_grad(parameter)
            mask.zero_(gradient)
            safe_set_local_grad(parameter, gradient)


@torch.no_grad()
def _zero_partitions(weights: list[tuple[nn.Parameter, PackedMask]]) -> None:
    """Set the masked entries of the f32 partitions to zero. `KeptZeros.apply` masks the other partitions."""
    if not weights:
        return
    from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param

    for parameter, mask in weights:
        if parameter.requires_grad:
            values = safe_get_local_fp32_param(parameter)
            mask.zero_(values)
            safe_set_local_fp32_param(parameter, values)
