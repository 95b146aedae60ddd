"""Refuses an answer that has zeros where its mask keeps the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pare_llm.client.jobs.upload_layers import LayerToUpload
    from pare_llm.client.layer_file import PrunedLayer
    from pare_llm.client.tensor_library import TensorLibrary

# The bits of the exponent of each dtype. They are 0 in zeros and in subnormal numbers, which may become 0.
_EXPONENT_BITS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}

# The fraction of the kept weights that may have become 0 without rounding. A normal number becomes 0 only if
# an update cancels it nearly exactly, which is rare.
_MAX_KEPT_ZEROS = 0.1


def check_kept_zeros(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any]
) -> None:
    """Check the kept weights that were normal numbers before and are 0 now.

    A method sets a whole column to 0 if its input was always 0. Rounding makes any small weight 0.

    Args:
        pruned: the answer.
        dtype: the dtype of its weight.
        library: its library.
        layer: the layer of the request.

    Raises:
        ValueError: if all weights are 0, or more than a tenth of the kept ones outside of columns of zeros.
    """
    bits = library.to_integers(pruned.weight)
    before = library.to_integers(library.convert(layer.weight, pruned.weight))
    was_kept = ((before & _EXPONENT_BITS[dtype]) != 0) & pruned.mask
    is_zero = (bits & ((1 << (8 * pruned.weight.itemsize - 1)) - 1)) == 0
    kept = int(was_kept.sum())
    zeros = (was_kept & is_zero).sum(0).tolist()
    has_value = (~is_zero).any(0).tolist()
    if not any(has_value):
        dead = _dead_inputs(layer)
        if any(count > 0 and not (dead and dead[col]) for col, count in enumerate(zeros)):
            raise ValueError("answer of /v1/layers: every weight is 0, although the mask keeps some")
    scattered = sum(count for count, value in zip(zeros, has_value, strict=True) if value)
    if layer.parameters.get("bits") is None and scattered > 1 + _MAX_KEPT_ZEROS * kept:
        raise ValueError(f"answer of /v1/layers: {scattered} weights are 0, although the mask keeps them")


def _dead_inputs(layer: LayerToUpload[Any]) -> list[bool] | None:
    """Return for each input whether it was always 0. None if the request has no statistics."""
    cols = layer.weight.shape[1]
    hessian: Any = layer.hessian
    upper: Any = layer.hessian_upper
    inputs: Any = layer.inputs
    if hessian is not None:
        dead = hessian.diagonal() == 0
    elif upper is not None:
        dead = upper[[col * cols - col * (col - 1) // 2 for col in range(cols)]] == 0
    elif inputs is not None:
        dead = ~(inputs != 0).any(0)
    else:
        return None
    result: list[bool] = dead.tolist()
    return result
