"""Checks that a solved layer is the requested one, because a host may be broken, or may lie.

The values of the kept weights are not checked further, because the layer would have to be solved again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pare_llm.client.answers import Report, printable
from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary, library_of
from pare_llm.client.wire_tensor import BYTES_PER_ELEMENT, WireTensor, dtype_of, to_wire

# The number of entries that are checked at a time, so that the temporary arrays are small.
_CHUNK_ENTRIES = 2**16

# The bytes that an answer may need for its header, which has the names of its tensors and the report.
_MAX_HEADER_BYTES = 2**20

# The longest accepted answer if the requested layer is not known. A host accepts no longer request either.
_MAX_LAYER_BYTES = 16 * 2**30

# The bits of the exponent of each dtype. All of them are 1 in infinities and NaNs, and 0 in zeros and in
# subnormal numbers.
_EXPONENT_BITS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}

_DEFAULT_SPARSITY = 0.5


def max_answer_bytes(layer: LayerToUpload[Any] | None) -> int:
    """Return the length of the longest answer that can be right."""
    if layer is None:
        return _MAX_LAYER_BYTES
    # The mask has one bit per entry, and at least one byte per row.
    bytes_per_entry = BYTES_PER_ELEMENT[_asked_dtype(layer)] + 1
    if layer.parameters.get("bits") is not None:
        bytes_per_entry += 1 + 2 * BYTES_PER_ELEMENT["F32"]  # a code, and at most one grid per entry
    entries: int = math.prod(layer.weight.shape)
    return entries * bytes_per_entry + _MAX_HEADER_BYTES


def check_layout(tensors: Mapping[str, WireTensor], layer: LayerToUpload[Any] | None) -> None:
    """Check the dtypes and shapes of an answer. A ValueError names the tensor, its form and the right one."""
    weight = tensors["weight"]
    if len(weight.shape) != 2 or 0 in weight.shape or weight.dtype not in _EXPONENT_BITS:
        raise _refusal(f"the weight is {weight.dtype} {list(weight.shape)}, but must be a matrix of floats")
    rows, cols = weight.shape
    grids = tensors["scales"].shape if "scales" in tensors else ()
    groups = grids[1] if len(grids) == 2 and all(grids) else 1
    if layer is not None:
        _require_layout("weight", weight, _asked_dtype(layer), tuple(layer.weight.shape))
        if ("codes" in tensors) != (layer.parameters.get("bits") is not None):
            rounding = "is" if "codes" in tensors else "is not"
            raise _refusal(f"the weight {rounding} rounded to a grid, contrary to the bits of the request")
        groups = math.ceil(cols / (layer.parameters.get("group_size") or cols))
    _require_layout("mask", tensors["mask"], "U8", (rows, math.ceil(cols / 8)))
    if "codes" in tensors:
        _require_layout("codes", tensors["codes"], "U8", (rows, cols))
        _require_layout("scales", tensors["scales"], "F32", (rows, groups))
        _require_layout("zeros", tensors["zeros"], "F32", (rows, groups))


def check_values(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any] | None
) -> None:
    """Check that all numbers are finite, and that the zeros are those of mask, report and request."""
    rows, cols = pruned.weight.shape
    pattern = _asked_pattern(layer)
    allowed = _asked_mask(layer)
    # Integers and their maximum take a fraction of the time of 16-bit floats and of comparisons.
    weight_bits, mask_bytes = library.to_integers(pruned.weight), library.to_integers(pruned.mask)
    kept = nonzero = 0
    step = max(1, _CHUNK_ENTRIES // cols)
    for begin in range(0, rows, step):
        chunk = slice(begin, begin + step)
        mask, magnitude = mask_bytes[chunk], _magnitude_bits("weight", weight_bits[chunk], dtype)
        if (magnitude * (mask ^ 1)).max() > 0:
            raise _refusal("the weight is not zero everywhere that its mask is False")
        if allowed is not None and (mask & (allowed[chunk] ^ 1)).max() > 0:
            raise _refusal("the mask keeps an entry that the mask of the request prunes")
        if pattern is not None:
            _require_pattern(mask, *pattern)
        kept += library.count_nonzero(mask)
        nonzero += library.count_nonzero(magnitude)
    if pruned.quantized is not None:
        for name, grid in (("scales", pruned.quantized.scales), ("zeros", pruned.quantized.zeros)):
            _magnitude_bits(name, library.to_integers(grid), "F32")
    pruned_entries = rows * cols - kept
    report = pruned.report
    if (report["rows"], report["cols"], report["zeros"]) != (rows, cols, pruned_entries):
        said = printable(f"{report['zeros']} of {report['rows']}x{report['cols']}", 100)
        raise _refusal(
            f"the mask prunes {pruned_entries} of {rows}x{cols} entries, but the report says {said}"
        )
    if layer is not None:
        _require_zeros(pruned_entries, layer, rows, cols)
        if nonzero < kept:
            _check_kept_zeros(pruned, dtype, library, layer)


def _require_layout(name: str, tensor: WireTensor, dtype: str, shape: tuple[int, ...]) -> None:
    if (tensor.dtype, tensor.shape) != (dtype, shape):
        raise _refusal(
            f"the tensor {name} is {tensor.dtype} {list(tensor.shape)} instead of {dtype} {list(shape)}"
        )


def _magnitude_bits(name: str, bits: Any, dtype: str) -> Any:
    """Return the bits of floats without their sign bit, which is the highest. All floats must be finite."""
    magnitude = bits & ((1 << (8 * BYTES_PER_ELEMENT[dtype] - 1)) - 1)
    if magnitude.max() >= _EXPONENT_BITS[dtype]:
        raise _refusal(f"the tensor {name} has a number that is not finite")
    return magnitude


def _require_pattern(mask: Any, keep: int, group: int) -> None:
    """Refuse a mask (rows, cols) uint8 that keeps more than `keep` of `group` consecutive columns."""
    whole = mask.shape[1] // group * group
    kept: Any = sum(mask[:, column:whole:group] for column in range(group))
    if whole > 0 and kept.max() > keep:
        raise _refusal(f"the mask keeps more than {keep} of {group} consecutive columns")


def _require_zeros(pruned: int, layer: LayerToUpload[Any], rows: int, cols: int) -> None:
    pattern = _asked_pattern(layer)
    if pattern is None:
        sparsity = layer.parameters.get("sparsity")
        # The host rounds s·rows·cols. The tolerance allows for any way of rounding.
        asked, tolerance = rows * cols * (_DEFAULT_SPARSITY if sparsity is None else sparsity), 1.0
    else:
        keep, group = pattern
        rest = cols % group
        kept_per_row = cols // group * keep + math.ceil(keep * rest / group)
        asked, tolerance = rows * (cols - kept_per_row), 0.0
    # The mask of the request may prune more.
    is_right = pruned >= asked - tolerance if layer.mask is not None else abs(pruned - asked) <= tolerance
    if not is_right:
        raise _refusal(
            f"the mask prunes {pruned} of {rows * cols} entries, but the request asks for {round(asked)}"
        )


def _asked_dtype(layer: LayerToUpload[Any]) -> str:
    dtype = layer.parameters.get("dtype") or "same"
    return dtype_of("weight", layer.weight) if dtype == "same" else dtype


def _asked_pattern(layer: LayerToUpload[Any] | None) -> tuple[int, int] | None:
    """Return n and m of the pattern n:m, or None if the zeros may be anywhere."""
    pattern = None if layer is None else layer.parameters.get("pattern")
    if pattern is None or pattern == "unstructured":
        return None
    keep, group = pattern.split(":")
    return int(keep), int(group)


def _asked_mask(layer: LayerToUpload[Any] | None) -> Any:
    """Return the mask of the request as uint8 in the library and on the device of the answer, or None."""
    if layer is None or layer.mask is None:
        return None
    library = library_of(layer.weight)
    return library.to_integers(library.make(to_wire("mask", layer.mask)))


def _refusal(problem: str) -> ValueError:
    return ValueError(f"answer of /v1/layers: {problem}")


# The fraction of the kept weights that may have become 0. An update rarely cancels a weight nearly exactly.
_MAX_KEPT_ZEROS = 0.1


def _check_kept_zeros(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any]
) -> None:
    """Raise a ValueError if all weights are 0, or too many kept weights that were normal numbers before.

    A method sets a whole column to 0 if its input was always 0. Such columns do not count.
    """
    bits = library.to_integers(pruned.weight)
    before = library.to_integers(library.convert(layer.weight, pruned.weight))
    was_kept = ((before & _EXPONENT_BITS[dtype]) != 0) & pruned.mask
    is_zero = (bits & ((1 << (8 * pruned.weight.itemsize - 1)) - 1)) == 0
    kept = int(was_kept.sum())
    zeros = (was_kept & is_zero).sum(0).tolist()
    has_value = ~is_zero
    if not has_value.any():
        dead = _dead_inputs(layer)
        if any(count > 0 and not (dead and dead[col]) for col, count in enumerate(zeros)):
            raise _refusal("every weight is 0, although the mask keeps some")
    if _may_have_nearest_rows(pruned.report, layer):
        if layer.target is not None:
            return  # the target has moved the weights, so these rows have other weights than before
        # A column of zeros may have values in rows with their original weights.
        has_value &= (has_value & (bits != before)).any(1)[:, None]
    in_use = has_value.any(0).tolist()
    scattered = sum(count for count, value in zip(zeros, in_use, strict=True) if value)
    if layer.parameters.get("bits") is None and scattered > 1 + _MAX_KEPT_ZEROS * kept:
        raise _refusal(f"{scattered} weights are 0, although the mask keeps them")


def _may_have_nearest_rows(report: Report, layer: LayerToUpload[Any]) -> bool:
    """Whether some rows have their original weights by the report, which needs validation statistics."""
    is_validated = layer.validation_hessian is not None or layer.validation_hessian_upper is not None
    # A request without statistics may name stored ones, with which validation statistics may be stored.
    names_stored = layer.hessian is None and layer.hessian_upper is None and layer.inputs is None
    return (is_validated or names_stored) and bool(report.get("nearest_rows"))


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
