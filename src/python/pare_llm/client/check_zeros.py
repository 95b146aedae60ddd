"""Checks that an answered layer has the zeros that the request asks for, and no others."""

from __future__ import annotations

import math
from typing import Any

from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary

# The bits of the exponent of each dtype. All of them are 1 in infinities and NaNs, and 0 in zeros and in
# subnormal numbers.
EXPONENT_BITS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}

_DEFAULT_SPARSITY = 0.5


def asked_pattern(layer: LayerToUpload[Any] | None) -> tuple[int, int] | None:
    """Return n and m of the pattern n:m, or None if the zeros may be anywhere."""
    pattern = None if layer is None else layer.parameters.get("pattern")
    if pattern is None or pattern == "unstructured":
        return None
    keep, group = pattern.split(":")
    return int(keep), int(group)


def require_pattern(mask: Any, keep: int, group: int) -> None:
    """Refuse a mask (rows, cols) uint8 that keeps more than `keep` of `group` consecutive columns."""
    whole = mask.shape[1] // group * group
    kept: Any = sum(mask[:, column:whole:group] for column in range(group))
    if whole > 0 and kept.max() > keep:
        raise ValueError(f"the mask keeps more than {keep} of {group} consecutive columns")


def require_zeros(pruned: int, layer: LayerToUpload[Any], rows: int, cols: int, allowed: int | None) -> None:
    """Refuse a wrong number of zeros. `allowed` is the number of ones in the mask of the request, if any."""
    pattern, sparsity = asked_pattern(layer), layer.parameters.get("sparsity")
    # Without a sparsity and a pattern, the entries of the mask are pruned and no others.
    is_mask_only = allowed is not None and pattern is None and sparsity is None
    if allowed is not None and is_mask_only:
        asked, tolerance = float(rows * cols - allowed), 0.0
    elif pattern is None:
        # The host rounds s·rows·cols. The tolerance allows for any way of rounding.
        asked, tolerance = rows * cols * (_DEFAULT_SPARSITY if sparsity is None else sparsity), 1.0
    else:
        keep, group = pattern
        rest = cols % group
        kept_per_row = cols // group * keep + math.ceil(keep * rest / group)
        asked, tolerance = rows * (cols - kept_per_row), 0.0
    # Otherwise the mask of the request may prune more.
    may_prune_more = allowed is not None and not is_mask_only
    is_right = pruned >= asked - tolerance if may_prune_more else abs(pruned - asked) <= tolerance
    if not is_right:
        raise ValueError(
            f"the mask prunes {pruned} of {rows * cols} entries, but the request asks for {round(asked)}"
        )


# One kept weight in so many may have become 0. An update cancels about one weight in 10¹⁰ exactly, and
# float16 has no number near 0 for some more.
_KEPT_PER_ZERO = 2**16


def check_kept_zeros(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any]
) -> None:
    """Raise a ValueError if weights are 0 although the mask keeps them, and they were normal numbers before.

    Rounding may make them 0, and a method sets a whole column to 0 if its input was always 0. Without
    statistics, a column of zeros counts as such a column.
    """
    bits = library.to_integers(pruned.weight)
    before = library.to_integers(library.convert(layer.weight, pruned.weight))
    was_kept = ((before & EXPONENT_BITS[dtype]) != 0) & pruned.mask
    is_zero = (bits & ((1 << (8 * pruned.weight.itemsize - 1)) - 1)) == 0
    zeros = (was_kept & is_zero).sum(0).tolist()
    dead = _dead_inputs(layer)
    if bool(is_zero.all()) and any(not (dead and dead[col]) for col, count in enumerate(zeros) if count):
        raise ValueError("every weight is 0, although the mask keeps some")
    if layer.parameters.get("bits") is not None:
        return
    if dead is None:
        has_value = ~is_zero
        if pruned.report.get("nearest_rows"):
            if layer.target is not None:
                return  # the target has moved the weights, so these rows have other weights than before
            # A column of zeros may have values in rows with their original weights.
            has_value &= (has_value & (bits != before)).any(1)[:, None]
        dead = (~has_value.any(0)).tolist()
    scattered = sum(count for count, is_dead in zip(zeros, dead, strict=True) if not is_dead)
    if scattered > int(was_kept.sum()) // _KEPT_PER_ZERO:
        raise ValueError(f"{scattered} weights are 0, although the mask keeps them")


# The largest input whose square is 0 in float32.
_LARGEST_DEAD = 2.0**-75


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
        dead = (abs(inputs) <= _LARGEST_DEAD).all(0)
    else:
        return None
    result: list[bool] = dead.tolist()
    return result
