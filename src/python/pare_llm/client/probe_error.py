"""Estimates the error of an answered layer, and refuses the answer if its report states another error.

The error is tr(D·H·Dᵀ), with the change D of the weights and the statistics H. If s is a row of random signs, the
expectation of s·D·H·Dᵀ·sᵀ is this trace (Hutchinson 1990), so a few rows cost a small part of one product with
H. The loss of a real layer is the sum of many independent rows, so eight rows estimate it within 30 %. If the
estimate and the report differ by more, the number of rows is doubled until they agree, and at last the error is
computed from all rows of D.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import WireTensor

_FIRST_ROWS = 8

# The factors by which an estimate of the error, an estimate of tr(W·H·Wᵀ), and an exact figure may differ from
# the report. The rows of W·H·Wᵀ are correlated, so an estimate of tr(W·H·Wᵀ) is less accurate.
_ESTIMATE, _WEIGHT_ESTIMATE, _EXACT = 1.3, 4.0, 1.1

# The largest part of √tr(W·H·Wᵀ) by which rounding to the dtype of the answer may change √tr(D·H·Dᵀ). It is four
# times the relative rounding error of a weight. In float32, it covers the arithmetic of host and client.
_ROUNDING = {"F32": 2.0**-18, "F16": 2.0**-9, "BF16": 2.0**-6}

# A host reports no error that is this small beside the damping, or that float32 may not hold.
_SMALLEST_REPORTED, _SMALLEST_HELD, _LARGEST_HELD = 2.0**-12, 2.0**-56, 2.0**120

# The number of entries that are converted to float64 at a time.
_BLOCK_ENTRIES = 2**20


@dataclass
class _Figures:
    """Estimates, or exact values, of tr(D·H·Dᵀ), tr(W·H·Wᵀ) and ‖D‖²·tr(H)/n."""

    error: float = 0
    weight: float = 0
    damping: float = 0

    def add(self, forms: Any, squares: float, mean: float) -> None:
        """Add the quadratic forms of some rows of D, and of as many rows of W below them."""
        count = len(forms) // 2
        self.error += float(forms[:count].sum())
        self.weight += float(forms[count:].sum())
        self.damping += squares * mean

    def divided_by(self, count: int) -> _Figures:
        return _Figures(self.error / count, self.weight / count, self.damping / count)


def check_error(
    pruned: PrunedLayer[Any],
    dtype: str,
    library: TensorLibrary[Any],
    layer: LayerToUpload[Any],
    *,
    sample_factor: float | None = None,
) -> None:
    """Raise a ValueError if the error of `pruned` is not the reported one. Without statistics, do nothing.

    With `sample_factor`, the inputs of `layer` are a small random sample. The relative error on them may differ
    from the report by this factor.
    """
    if layer.hessian is None and layer.hessian_upper is None and layer.inputs is None:
        return
    loss, relative = (_read_figure(pruned.report, name) for name in ("loss", "relative_error"))
    rows = pruned.weight.shape[0]
    figures, count = _Figures(), 0
    while sample_factor is None and (added := max(count, _FIRST_ROWS)) + count < rows:
        _add_rows(figures, pruned, library, layer, _random_signs(library, added, rows))
        count += added
        if _agrees(figures.divided_by(count), loss, relative, dtype, _ESTIMATE, _WEIGHT_ESTIMATE):
            return
    exact, step = _Figures(), max(1, _BLOCK_ENTRIES // pruned.weight.shape[1])
    for begin in range(0, rows, step):
        _add_rows(exact, pruned, library, layer, slice(begin, begin + step))
    if sample_factor is not None:
        loss = None
    factor = sample_factor or _EXACT
    if not _agrees(exact, loss, relative, dtype, factor, factor):
        raise ValueError(_contradiction(exact, loss, relative))


def _read_figure(report: Any, name: str) -> float | None:
    """Return a figure of a report. Raise a ValueError unless it is None or a finite number from 0."""
    value = report[name]
    if value is not None and not (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
    ):
        raise ValueError(f"the {name} of its report is not a number that is at least 0")
    return None if value is None else float(value)


def _agrees(
    figures: _Figures,
    loss: float | None,
    relative: float | None,
    dtype: str,
    factor: float,
    weight_factor: float,
) -> bool:
    error, weight = figures.error, figures.weight
    if loss is None and relative is None:
        is_tiny = error <= _SMALLEST_REPORTED * figures.damping
        return is_tiny or not _SMALLEST_HELD < error < _LARGEST_HELD
    slack = _ROUNDING[dtype] * math.sqrt(weight)
    root, reported = math.sqrt(error), math.sqrt(relative * weight if loss is None else loss)
    if not (reported - slack) / math.sqrt(factor) <= root <= (reported + slack) * math.sqrt(factor):
        return False
    if loss is None or relative is None:
        return True
    return loss / weight_factor <= relative * weight <= loss * weight_factor


def _contradiction(figures: _Figures, loss: float | None, relative: float | None) -> str:
    if loss is None and relative is None:
        return f"the loss is {figures.error:.4g}, but the report has none"
    actual = figures.error / figures.weight if figures.weight else math.inf
    if relative is not None and not relative / _EXACT <= actual <= relative * _EXACT:
        return f"the relative error is {actual:.4g}, but the report says {relative:.4g}"
    return f"the loss is {figures.error:.4g}, but the report says {loss:.4g}"


def _random_signs(library: TensorLibrary[Any], count: int, length: int) -> Any:
    """Return (count, length) float32 of 1 and −1, which no host can predict."""
    row_bytes = math.ceil(length / 8)
    bits = memoryview(bytearray(os.urandom(count * row_bytes)))
    signs = library.zeros((count, length))
    signs += library.unpack_mask(WireTensor("U8", (count, row_bytes), bits), length)
    signs *= 2
    signs -= 1
    return signs


def _add_rows(
    figures: _Figures, pruned: PrunedLayer[Any], library: TensorLibrary[Any], layer: LayerToUpload[Any], rows: Any
) -> None:
    """Add the figures of some rows, a slice, or of combinations of all rows with the coefficients `rows`."""
    cols, like = pruned.weight.shape[1], library.zeros((1,))
    before, after = layer.weight, pruned.weight
    if isinstance(rows, slice):
        before, after = (library.convert(weight[rows], like) for weight in (before, after))
        count = len(after)
        change, weight = after - before, before
    else:
        count, step = len(rows), max(1, _BLOCK_ENTRIES // cols)
        change, weight = library.zeros((count, cols)), library.zeros((count, cols))
        for begin in range(0, len(after), step):
            part = slice(begin, begin + step)
            change += rows[:, part] @ library.convert(after[part], like)
            weight += rows[:, part] @ library.convert(before[part], like)
        change -= weight
    both = library.zeros((2 * count, cols), is_wide=True)
    both[:count] += change
    both[count:] += weight
    forms, trace = _quadratic_forms(both, layer, library)
    figures.add(forms, float((both[:count] ** 2).sum()), trace / cols)


def _quadratic_forms(x: Any, layer: LayerToUpload[Any], library: TensorLibrary[Any]) -> tuple[Any, float]:
    """Return x·H·xᵀ for each row x of (rows, n), and the trace of H."""
    cols = x.shape[1]
    step = max(1, _BLOCK_ENTRIES // cols)
    forms, trace = library.zeros((len(x),), is_wide=True), 0.0
    if layer.inputs is not None:
        for begin in range(0, len(layer.inputs), step):
            tokens = library.convert(layer.inputs[begin : begin + step], x)
            if layer.parameters.get("token_weights") == "unit":
                tokens = tokens / ((tokens**2).sum(1) / cols + 1e-30)[:, None] ** 0.5
            forms += ((x @ tokens.T) ** 2).sum(1)
            trace += float((tokens**2).sum())
        return forms, trace
    position = 0
    for begin in range(0, cols, step):
        end = min(begin + step, cols)
        if layer.hessian is not None:
            block = library.convert(layer.hessian[begin:end], x)
            forms += ((x[:, begin:end] @ block) * x).sum(1)
            trace += float(block[:, begin:].diagonal().sum())
            continue
        # The rows of the upper triangle, with zeros below the diagonal.
        last = position + (end - begin) * (2 * cols - begin - end + 1) // 2
        packed = library.convert(layer.hessian_upper[position:last], x)
        block = library.unpack_upper(packed, end - begin, cols - begin)
        position = last
        diagonal = block.diagonal()
        forms += 2 * ((x[:, begin:end] @ block) * x[:, begin:]).sum(1) - (x[:, begin:end] ** 2 * diagonal).sum(1)
        trace += float(diagonal.sum())
    return forms, trace
