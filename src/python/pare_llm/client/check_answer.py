"""Checks that a solved layer is the requested one, because a host may be broken, or may lie.

Every way in which a layer is received ends in `receive_layer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pare_llm.checkpoints.header import ELEMENT_BYTES
from pare_llm.client.answers import Report, printable
from pare_llm.client.check_codes import check_codes
from pare_llm.client.check_zeros import (
    EXPONENT_BITS,
    asked_pattern,
    check_kept_zeros,
    require_pattern,
    require_zeros,
)
from pare_llm.client.layer import LayerToUpload, PrunedLayer, QuantizedWeight
from pare_llm.client.probe_error import check_error
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import Array, WireTensor, dtype_of

# The number of entries that are checked at a time, so that the temporary arrays are small.
_CHUNK_ENTRIES = 2**16

# The bytes that an answer may need for its header, which has the names of its tensors and the report.
_MAX_HEADER_BYTES = 2**20

# The longest accepted answer if the requested layer is not known. A host accepts no longer request either.
_MAX_LAYER_BYTES = 16 * 2**30


def max_answer_bytes(layer: LayerToUpload[Any] | None) -> int:
    """Return the length of the longest answer that can be right."""
    if layer is None:
        return _MAX_LAYER_BYTES
    # The mask has one bit per entry, and at least one byte per row.
    bytes_per_entry = ELEMENT_BYTES[_asked_dtype(layer)] + 1
    if layer.parameters.get("bits") is not None:
        bytes_per_entry += 1 + 2 * ELEMENT_BYTES["F32"]  # a code, and at most one grid per entry
    entries: int = math.prod(layer.weight.shape)
    return entries * bytes_per_entry + _MAX_HEADER_BYTES


_QUANTIZED_NAMES = ("codes", "scales", "zeros")


def receive_layer(
    tensors: Mapping[str, WireTensor],
    report: Report,
    library: TensorLibrary[Array],
    layer: LayerToUpload[Any] | None,
    *,
    is_calibrated_by_host: bool = False,
) -> PrunedLayer[Array]:
    """Return the layer that the tensors of an answer form, after all checks.

    Without `layer`, the parts of the answer are only compared with each other. With `is_calibrated_by_host`,
    the inputs of `layer` are random combinations of the calibration inputs, which the host has sent. A
    ValueError names the first fault, but not the answer.
    """
    is_rounded = not tensors.keys().isdisjoint(_QUANTIZED_NAMES)
    names = ("weight", "mask", *_QUANTIZED_NAMES) if is_rounded else ("weight", "mask")
    for name in names:
        if name not in tensors:
            raise ValueError(f'tensor "{name}" is missing')
    _check_layout(tensors, layer)
    quantized = None
    if is_rounded:
        quantized = QuantizedWeight(*(library.make(tensors[name]) for name in _QUANTIZED_NAMES))
    pruned = PrunedLayer(
        weight=library.make(tensors["weight"]),
        mask=library.unpack_mask(tensors["mask"], tensors["weight"].shape[1]),
        quantized=quantized,
        report=report,
    )
    dtype = tensors["weight"].dtype
    check_values(pruned, dtype, library, layer)
    if layer is not None:
        may_have_moved = is_calibrated_by_host and "target_step" in report
        if dtype == dtype_of("weight", layer.weight) and _keeps_weights(layer) and not may_have_moved:
            _check_unchanged(pruned, dtype, library, layer)
        check_error(pruned, dtype, library, layer, is_sampled=is_calibrated_by_host)
    return pruned


def _check_layout(tensors: Mapping[str, WireTensor], layer: LayerToUpload[Any] | None) -> None:
    """Check the dtypes and shapes of an answer. A ValueError names the tensor, its form and the right one."""
    weight = tensors["weight"]
    if len(weight.shape) != 2 or 0 in weight.shape or weight.dtype not in EXPONENT_BITS:
        raise ValueError(f"the weight is {weight.dtype} {list(weight.shape)}, but must be a matrix of floats")
    rows, cols = weight.shape
    grids = tensors["scales"].shape if "scales" in tensors else ()
    groups = grids[1] if len(grids) == 2 and all(grids) else 1
    if layer is not None:
        require_layout("weight", weight, _asked_dtype(layer), tuple(layer.weight.shape))
        if ("codes" in tensors) != (layer.parameters.get("bits") is not None):
            rounding = "is" if "codes" in tensors else "is not"
            raise ValueError(f"the weight {rounding} rounded to a grid, contrary to the bits of the request")
        groups = math.ceil(cols / (layer.parameters.get("group_size") or cols))
    require_layout("mask", tensors["mask"], "U8", (rows, math.ceil(cols / 8)))
    if "codes" in tensors:
        require_layout("codes", tensors["codes"], "U8", (rows, cols))
        require_layout("scales", tensors["scales"], "F32", (rows, groups))
        require_layout("zeros", tensors["zeros"], "F32", (rows, groups))


def check_values(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any] | None
) -> None:
    """Check the numbers, the zeros by mask, report and request, and the codes."""
    rows, cols = pruned.weight.shape
    pattern = asked_pattern(layer)
    allowed = _asked_mask(pruned, library, layer)
    # Integers and their maximum take a fraction of the time of 16-bit floats and of comparisons.
    weight_bits, mask_bytes = library.to_integers(pruned.weight), library.to_integers(pruned.mask)
    kept = nonzero = 0
    step = max(1, _CHUNK_ENTRIES // cols)
    for begin in range(0, rows, step):
        chunk = slice(begin, begin + step)
        mask, magnitude = mask_bytes[chunk], magnitude_bits("weight", weight_bits[chunk], dtype)
        if (magnitude * (mask ^ 1)).max() > 0:
            raise ValueError("the weight is not zero everywhere that its mask is False")
        if allowed is not None and (mask & (allowed[chunk] ^ 1)).max() > 0:
            raise ValueError("the mask keeps an entry that the mask of the request prunes")
        if pattern is not None:
            require_pattern(mask, *pattern)
        kept += library.count_nonzero(mask)
        nonzero += library.count_nonzero(magnitude)
    if pruned.quantized is not None:
        for name, grid in (("scales", pruned.quantized.scales), ("zeros", pruned.quantized.zeros)):
            magnitude_bits(name, library.to_integers(grid), "F32")
        if layer is not None:
            check_codes(pruned, dtype, library, layer)
    pruned_entries = rows * cols - kept
    report = pruned.report
    if (report["rows"], report["cols"], report["zeros"]) != (rows, cols, pruned_entries):
        said = printable(f"{report['zeros']} of {report['rows']}x{report['cols']}", 100)
        raise ValueError(
            f"the mask prunes {pruned_entries} of {rows}x{cols} entries, but the report says {said}"
        )
    if layer is not None:
        allowed_entries = None if allowed is None else library.count_nonzero(allowed)
        require_zeros(pruned_entries, layer, rows, cols, allowed_entries)
        if nonzero < kept:
            check_kept_zeros(pruned, dtype, library, layer)


def require_layout(name: str, tensor: WireTensor, dtype: str, shape: tuple[int, ...]) -> None:
    if (tensor.dtype, tensor.shape) != (dtype, shape):
        raise ValueError(
            f"the tensor {name} is {tensor.dtype} {list(tensor.shape)} instead of {dtype} {list(shape)}"
        )


def magnitude_bits(name: str, bits: Any, dtype: str) -> Any:
    """Return the bits of floats without their sign bit, which is the highest. All floats must be finite."""
    magnitude = bits & ((1 << (8 * ELEMENT_BYTES[dtype] - 1)) - 1)
    if magnitude.max() >= EXPONENT_BITS[dtype]:
        raise ValueError(f"the tensor {name} has a number that is not finite")
    return magnitude


def _asked_dtype(layer: LayerToUpload[Any]) -> str:
    dtype = layer.parameters.get("dtype") or "same"
    return dtype_of("weight", layer.weight) if dtype == "same" else dtype


def _asked_mask(
    pruned: PrunedLayer[Any], library: TensorLibrary[Any], layer: LayerToUpload[Any] | None
) -> Any:
    """Return the mask of the request as uint8 in the library and on the device of the answer, or None."""
    if layer is None or layer.mask is None:
        return None
    return library.to_integers(library.convert(layer.mask, pruned.mask))


def _keeps_weights(layer: LayerToUpload[Any]) -> bool:
    """Whether the kept weights of the answer must equal the weights of the request."""
    parameters = layer.parameters
    is_moved = bool(parameters.get("refit")) or parameters.get("bits") is not None or layer.target is not None
    return parameters.get("method") in ("magnitude", "wanda") and not is_moved


def _check_unchanged(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any]
) -> None:
    """Compare the kept weights with the weights of the request, and the mask of `magnitude` with their order.

    A device may treat subnormal numbers as 0.
    """
    weight = library.to_integers(library.convert(layer.weight, pruned.weight))
    answered, mask_bytes = library.to_integers(pruned.weight), library.to_integers(pruned.mask)
    allowed = _asked_mask(pruned, library, layer)
    largest_pruned, infinite = 0, EXPONENT_BITS[dtype]
    smallest_kept = infinite
    step = max(1, _CHUNK_ENTRIES // weight.shape[1])
    for begin in range(0, len(weight), step):
        chunk = slice(begin, begin + step)
        mask = mask_bytes[chunk]
        magnitude = magnitude_bits("weight of the request", weight[chunk], dtype)
        magnitude = magnitude * ((magnitude & infinite) != 0)
        if (((weight[chunk] ^ answered[chunk]) * mask)[magnitude != 0] != 0).any():
            method = layer.parameters["method"]
            raise ValueError(f"a kept weight differs from the request, although {method} changes none")
        pruned_bytes = (mask ^ 1) if allowed is None else (mask ^ 1) & allowed[chunk]
        largest_pruned = max(largest_pruned, int((magnitude * pruned_bytes).max()))
        smallest_kept = min(smallest_kept, infinite - int(((infinite - magnitude) * mask).max()))
    is_ordered = layer.parameters["method"] == "magnitude" and asked_pattern(layer) is None
    if is_ordered and largest_pruned > smallest_kept:
        raise ValueError("the mask keeps a weight with a smaller magnitude than a pruned one")
