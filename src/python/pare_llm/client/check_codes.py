"""Checks the codes and the grids of a rounded weight, from which a quantised checkpoint is written."""

from __future__ import annotations

from typing import Any

from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary

# The largest rounding error of a weight of each dtype, as a share of the range of its grid, if 0 is not a
# value of the grid.
_GRID_ROUNDING = {"F32": 2.0**-22, "F16": 2.0**-10, "BF16": 2.0**-7}


def check_codes(
    pruned: PrunedLayer[Any], dtype: str, library: TensorLibrary[Any], layer: LayerToUpload[Any]
) -> None:
    """Raise a ValueError unless the codes have the requested bits, and give the weight with their grids."""
    assert pruned.quantized is not None
    codes, scales, zeros = pruned.quantized.codes, pruned.quantized.scales, pruned.quantized.zeros
    cols = codes.shape[1]
    bits = layer.parameters["bits"]
    group_size = layer.parameters.get("group_size") or cols
    if int(codes.max()) >= 2**bits:
        raise ValueError(f"a code has more than {bits} bits")
    is_fraction = zeros != zeros.round()
    if is_fraction.any() and (
        layer.parameters.get("scale_bits") is None or layer.parameters.get("symmetric")
    ):
        raise ValueError("a zero of a grid is not an integer, although 0 is a value of every grid")
    tolerance = is_fraction * abs(scales) * (_GRID_ROUNDING[dtype] * 2**bits)
    step = max(1, 2**16 // cols)
    grid_of = [col // group_size for col in range(cols)]
    for begin in range(0, len(codes), step):
        chunk = slice(begin, begin + step)
        exact = (library.convert(codes[chunk], scales) - zeros[chunk][:, grid_of]) * scales[chunk][:, grid_of]
        expected = library.convert(library.convert(exact, pruned.weight), scales)
        difference = abs(library.convert(pruned.weight[chunk], scales) - expected)
        if (difference > tolerance[chunk][:, grid_of]).any():
            raise ValueError("a weight is not the value of its code")
