"""The product of a LoRA adapter in which the pruned entries of the layer's weight take no part."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


def masked_delta(weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Return mask ⊙ (B·A)·scaling with the shape [out, in], where the mask is `weight != 0`.

    Args:
        weight: The weight W of the layer, [out, in].
        down: A, [rank, in].
        up: B, [out, rank].
        scaling: The factor of the adapter.
    """
    with torch.autocast(weight.device.type, enabled=False):
        return torch.where(weight != 0, (up @ down) * scaling, 0)


class MaskedProduct(torch.autograd.Function):
    """Computes x · (mask ⊙ (B·A)·scaling)ᵀ.

    The matrix of size [out, in] is computed again in backward. If autograd stored it, training would need
    memory for a copy of all adapted weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
        """Multiply x [..., in] and return [..., out]."""
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
    product: Tensor = MaskedProduct.apply(x, weight, down, up, scaling)  # type: ignore[no-untyped-call]
    return product
