"""A LoRA adapter that has no part in the pruned entries of its layer's weight."""

from collections.abc import Callable
from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.functional import linear


def masked_delta(weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Return mask ⊙ (B·A)·scaling, [out, in], for A [rank, in], B [out, rank] and the mask `weight != 0`."""
    with torch.autocast(weight.device.type, enabled=False):
        return torch.where(weight != 0, (up @ down) * scaling, 0)


class MaskedProduct(torch.autograd.Function):
    """Computes x · (mask ⊙ (B·A)·scaling)ᵀ.

    The matrix of size [out, in] is computed again in backward. If autograd stored it, training would need
    memory for a copy of all adapted weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scaling = scaling
        return linear(x, masked_delta(weight, down, up, scaling))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B.

        For the gradient g of the result, let G = mask ⊙ (gᵀ·x)·scaling. Then dA = Bᵀ·G and dB = G·Aᵀ.
        """
        x, weight, down, up = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, _, needs_down, needs_up, _ = ctx.needs_input_grad
        dx = (gradient @ masked_delta(weight, down, up, ctx.scaling).to(gradient.dtype)) if needs_x else None
        if not (needs_down or needs_up):
            return dx, None, None, None, None
        product = gradient.reshape(-1, len(up)).t() @ x.reshape(-1, down.shape[1]).to(gradient.dtype)
        product = torch.where(weight != 0, product * ctx.scaling, 0).to(up.dtype)
        return dx, None, up.t() @ product, product @ down.t(), None


def masked_product(x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Return x · (mask ⊙ (B·A)·scaling)ᵀ for x [..., in], see `masked_delta`. The weight gets no gradient."""
    multiply: Callable[..., Tensor] = MaskedProduct.apply
    return multiply(x, weight, down, up, scaling)


class MaskedAdapter(LoraVariant):
    """A LoRA adapter with the weights mask ⊙ (B·A)·scaling. The mask is `W != 0` for the frozen weight W.

    peft calls this class in forward, `merge_adapter`, `unmerge_adapter` and `merge_and_unload`. The mask is
    not stored, because W does not change while the adapter is trained.
    """

    @staticmethod
    def init(module: LoraLayer, adapter_name: str, **kwargs: Any) -> None:
        """Do nothing, because the class has no parameters of its own."""

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return (orig_weight + _delta(module, active_adapter, orig_weight)).to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        orig_weight.data += _delta(module, active_adapter, orig_weight)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return (orig_weight - _delta(module, active_adapter, orig_weight)).to(orig_weight.dtype)

    @staticmethod
    def forward(module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """Add the product of the adapter to `result`. As in LoRA, only the adapter's input has dropout."""
        weight = cast(Tensor, module.get_base_layer().weight)
        if isinstance(weight, DTensor):
            raise TypeError(
                "masked LoRA: the weight is sharded while its layer runs; apply fully_shard to whole blocks, "
                "so that FSDP2 gathers the weight together with its adapter"
            )
        dropped = module.lora_dropout[active_adapter](x)
        product = masked_product(dropped, *_factors(module, active_adapter, weight))
        bias = cast("Tensor | None", module.lora_B[active_adapter].bias)
        return result + (product if bias is None else product + bias * module.scaling[active_adapter])


def _factors(module: LoraLayer, adapter: str, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return the weight as [out, in], and A, B and the scaling of an adapter."""
    down = cast(Tensor, module.lora_A[adapter].weight)
    up = cast(Tensor, module.lora_B[adapter].weight)
    return (
        weight.t() if cast(LoraLinear, module).fan_in_fan_out else weight,
        down,
        up,
        module.scaling[adapter],
    )


def _delta(module: LoraLayer, adapter: str, weight: Tensor) -> Tensor:
    """Return mask ⊙ (B·A)·scaling with the shape of `weight`."""
    delta = masked_delta(*_factors(module, adapter, weight)).detach()
    return delta.t() if cast(LoraLinear, module).fan_in_fan_out else delta
