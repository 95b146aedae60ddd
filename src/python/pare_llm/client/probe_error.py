"""Estimates the error of an answered layer, and refuses the answer if its report states another error.

The error is tr(D·H·Dᵀ), with the change D of the weights and the statistics H. If s is a row of random signs,
the expectation of s·D·H·Dᵀ·sᵀ is this trace (Hutchinson 1990), so a few rows cost a small part of one product
with H. The loss of a real layer is the sum of many independent rows, so eight rows estimate it within 30 %.
If the estimate and the report differ by more, the number of rows is doubled until they agree, and at last the
error is computed from all rows of D.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from pare_llm.client.answers import printable
from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import WireTensor

_FIRST_ROWS = 8

# The factors by which an estimate of the error, an estimate of tr(W·H·Wᵀ), and an exact figure may differ
# from the report. The rows of W·H·Wᵀ are correlated, so an estimate of tr(W·H·Wᵀ) is less accurate.
_ESTIMATE, _WEIGHT_ESTIMATE, _EXACT = 1.3, 4.0, 1.1

# The number of standard deviations by which a sum of random terms may differ from its expectation.
_DEVIATIONS = 4

# Rounding to the dtype of the answer may change √tr(D·H·Dᵀ) by the first number times √tr(W·H·Wᵀ), plus the
# second number times √(rows·tr(H)). The numbers are four times the relative rounding error of a weight, and
# four times the absolute error of a subnormal one. In float32, they cover the arithmetic of host and client.
_ROUNDING = {"F32": (2.0**-18, 0), "F16": (2.0**-9, 2.0**-23), "BF16": (2.0**-6, 0)}

# A host reports no error that is this small beside the damping, or that float32 may not hold.
_SMALLEST_REPORTED, _SMALLEST_HELD, _LARGEST_HELD = 2.0**-12, 2.0**-56, 2.0**120

# The number of entries that are converted to float64 at a time.
_BLOCK_ENTRIES = 2**17


@dataclass
class _Figures:
    """Estimates, or exact values, of tr(D·H·Dᵀ), tr(W·H·Wᵀ) and ‖D‖², and the exact tr(H) of n columns."""

    error: float = 0
    weight: float = 0
    squares: float = 0
    trace: float = 0
    cols: int = 0

    def divided_by(self, count: int) -> _Figures:
        return _Figures(self.error / count, self.weight / count, self.squares / count, self.trace, self.cols)


def check_error(
    pruned: PrunedLayer[Any],
    dtype: str,
    library: TensorLibrary[Any],
    layer: LayerToUpload[Any],
    *,
    is_sampled: bool = False,
) -> None:
    """Raise a ValueError if the error of `pruned` is not the reported one. Without statistics, do nothing.

    With `is_sampled`, the inputs of `layer` are a few random combinations P of the calibration inputs, such
    that the expectation of Pᵀ·P is H.
    """
    loss, relative = (_read_figure(pruned.report, name) for name in ("loss", "relative_error"))
    if layer.hessian is None and layer.hessian_upper is None and layer.inputs is None:
        return
    rows, cols = pruned.weight.shape
    said = _Said(loss, relative, dtype, rows)
    if is_sampled:
        figures, factors = _sampled_figures(pruned, library, layer)
        if not said.agrees(figures, *factors):
            raise ValueError(said.contradiction(figures))
        return
    figures, count = _Figures(), 0
    while (added := max(count, _FIRST_ROWS)) + count < rows:
        _add_rows(figures, pruned, library, layer, _random_signs(library, added, rows))
        count += added
        if said.agrees(figures.divided_by(count), _ESTIMATE, _WEIGHT_ESTIMATE):
            return
    exact, step = _Figures(), max(1, _BLOCK_ENTRIES // cols)
    for begin in range(0, rows, step):
        _add_rows(exact, pruned, library, layer, slice(begin, begin + step))
    if not said.agrees(exact, _EXACT, _EXACT):
        raise ValueError(said.contradiction(exact))


@dataclass(frozen=True)
class _Said:
    """What a report says about a layer with `rows` rows, whose answer has the dtype `dtype`."""

    loss: float | None
    relative: float | None
    dtype: str
    rows: int

    def agrees(self, figures: _Figures, factor: float, weight_factor: float) -> bool:
        """Whether tr(D·H·Dᵀ) and tr(W·H·Wᵀ) differ from the report by at most these factors.

        A sum of squares is more often far below its expectation than far above, so the square root of the
        error may be smaller by the whole factor.
        """
        # Statistics that are not positive semidefinite may have negative forms.
        error, weight = max(figures.error, 0), max(figures.weight, 0)
        loss, relative = self.loss, self.relative
        if relative is not None and loss is None:
            loss = relative * weight
        if loss is None:
            is_tiny = error <= _SMALLEST_REPORTED * figures.squares * figures.trace / figures.cols
            return is_tiny or not _SMALLEST_HELD < error < _LARGEST_HELD
        of_weight, of_step = _ROUNDING[self.dtype]
        slack = of_weight * math.sqrt(weight) + of_step * math.sqrt(self.rows * figures.trace)
        least, most = (math.sqrt(loss) - slack) / factor, (math.sqrt(loss) + slack) * math.sqrt(factor)
        if not least <= math.sqrt(error) <= most:
            return False
        return relative is None or loss / weight_factor <= relative * weight <= loss * weight_factor

    def contradiction(self, figures: _Figures) -> str:
        """Return what `figures`, which do not agree, have instead of the report."""
        actual = figures.error / figures.weight if figures.weight else math.inf
        if self.relative is not None and not self.relative / _EXACT <= actual <= self.relative * _EXACT:
            return f"the relative error is {actual:.4g}, but the report says {self.relative:.4g}"
        says = "has none" if self.loss is None else f"says {self.loss:.4g}"
        return f"the loss is {figures.error:.4g}, but the report {says}"


def _read_figure(report: Any, name: str) -> float | None:
    """Return a figure of a report. Raise a ValueError unless it is None or a finite number from 0."""
    value = report[name]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= value < math.inf):
        raise ValueError(
            f"the {name} of the report must be None or a number from 0, got {printable(repr(value), 100)}"
        )
    return None if value is None else float(value)


def _sampled_figures(
    pruned: PrunedLayer[Any], library: TensorLibrary[Any], layer: LayerToUpload[Any]
) -> tuple[_Figures, tuple[float, float]]:
    """Return the figures by the inputs of `layer`, and the factors that the choice of the inputs explains."""
    like = library.zeros((1,))
    inputs = library.convert(layer.inputs, like)
    count, cols = inputs.shape
    error, weight = library.zeros((count,), is_wide=True), library.zeros((count,), is_wide=True)
    squares, step = 0.0, max(1, _BLOCK_ENTRIES // cols)
    for begin in range(0, len(pruned.weight), step):
        before, after = (
            library.convert(each[begin : begin + step], like) for each in (layer.weight, pruned.weight)
        )
        error += (((after - before) @ inputs.T) ** 2).sum(0)
        weight += ((before @ inputs.T) ** 2).sum(0)
        squares += float(((after - before) ** 2).sum())
    figures = _Figures(float(error.sum()), float(weight.sum()), squares, float((inputs**2).sum()), cols)
    return figures, (_sampling_factor(error), _sampling_factor(weight) ** 2)


def _sampling_factor(terms: Any) -> float:
    """Return the factor by which the sum of random terms may differ from its expectation."""
    count, mean = len(terms), float(terms.sum()) / len(terms)
    variance = float(((terms - mean) ** 2).sum()) / (count - 1)
    return _ESTIMATE * math.exp(_DEVIATIONS * math.sqrt(variance / count) / mean) if mean else _ESTIMATE


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
    figures: _Figures,
    pruned: PrunedLayer[Any],
    library: TensorLibrary[Any],
    layer: LayerToUpload[Any],
    rows: Any,
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
            old = library.convert(before[part], like)
            change += rows[:, part] @ (library.convert(after[part], like) - old)
            weight += rows[:, part] @ old
    both = library.zeros((2 * count, cols), is_wide=True)
    both[:count] += change
    both[count:] += weight
    forms, trace = _quadratic_forms(both, layer, library)
    figures.error += float(forms[:count].sum())
    figures.weight += float(forms[count:].sum())
    figures.squares += float((both[:count] ** 2).sum())
    figures.trace, figures.cols = trace, cols


def _quadratic_forms(x: Any, layer: LayerToUpload[Any], library: TensorLibrary[Any]) -> tuple[Any, float]:
    """Return x·H·xᵀ for each row x of (rows, n), and the trace of H."""
    cols = x.shape[1]
    upper: Any = layer.hessian_upper
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
        packed = library.convert(upper[position:last], x)
        block = library.unpack_upper(packed, end - begin, cols - begin)
        position = last
        diagonal = block.diagonal()
        forms += 2 * ((x[:, begin:end] @ block) * x[:, begin:]).sum(1) - (
            x[:, begin:end] ** 2 * diagonal
        ).sum(1)
        trace += float(diagonal.sum())
    return forms, trace
