"""Solves layers in this process, on the device of their weights."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pare_llm.client.errors import NotPositiveDefiniteError
from pare_llm.client.layer import PrunedLayer
from pare_llm.local.column_pass import run_columns, smallest, smallest_in_groups
from pare_llm.local.local_options import LocalOptions
from pare_llm.statistics.hessian import full_precision_products, symmetric_matrix

# The packed statistics of the fitted and the held-out inputs, and the factor and the damping of each request.
_Statistics = tuple[Tensor | None, Tensor | None, dict[float, tuple[Tensor, float]]]


class LocalSolver:
    """The client of a run without a host (`LayerClient`). `LocalOptions` says what it solves."""

    def __init__(self) -> None:
        """Begin without statistics."""
        self._stored: dict[str, _Statistics] = {}

    def check(self, *queries: Mapping[str, Any]) -> None:
        """Raise a ValueError that names a parameter that this process does not solve."""
        for query in queries:
            LocalOptions.read(query)

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Store statistics, so that they are factored once for all their layers."""
        digest = f"local:{id(hessian_upper)}"  # no other tensor has this id while the statistics are stored
        self._stored[digest] = hessian_upper, validation_hessian_upper, {}
        return digest

    def delete_hessian(self, digest: str) -> None:
        """Delete stored statistics."""
        self._stored.pop(digest, None)

    def prune_layer(self, weight: Tensor, **layer: Any) -> PrunedLayer[Tensor]:
        """Prune a layer with packed statistics, as `Pare.prune_layer` does, but return no codes of grids."""
        digest, upper = layer.pop("hessian", None), layer.pop("hessian_upper", None)
        own: _Statistics = (upper, layer.pop("validation_hessian_upper", None), {})
        with torch.inference_mode(False), torch.no_grad(), full_precision_products():
            return _solve(weight.detach(), self._stored[digest] if digest else own, LocalOptions.read(layer))


def _solve(weight: Tensor, statistics: _Statistics, options: LocalOptions) -> PrunedLayer[Tensor]:
    started, (rows, cols), dense = time.perf_counter(), weight.shape, weight.float()
    *packed, factors = statistics
    hessian, held_out = (
        None if each is None else symmetric_matrix(each.to(weight.device), cols) for each in packed
    )
    is_reused, u, damping, q = options.damping in factors, None, None, dense
    pruned: Any = None
    if hessian is None and (options.method != "magnitude" or options.bits):
        raise ValueError(
            f"hessian_upper: {options.method} needs statistics to prune or round a layer, got None"
        )
    if hessian is not None and (options.method == "sparsegpt" or options.bits):
        if not is_reused:
            factors[options.damping] = inverse_factor(hessian, options.damping)
        u, damping = factors[options.damping]
        q = dense * (hessian.diagonal() != 0)  # an input that was always 0 needs no weights
    factored = time.perf_counter()
    if options.method != "sparsegpt":
        pruned = _choose_mask(dense, hessian, options)
        q = q.masked_fill(pruned, 0)
    if u is not None:
        q, pruned = run_columns(q, u, options, pruned)
    q, pruned, figures = _choose_result(dense, q, pruned, held_out, options)
    answer, zeros = q.to(weight.dtype), int(pruned.sum())
    if not (weight.isfinite().all() and answer.isfinite().all()):
        raise ValueError(f"weight: must be finite in {weight.dtype}, before and after it is pruned")
    loss, error = _figures(None if hessian is None else _losses(dense - answer, hessian), dense, hessian)
    name = torch.cuda.get_device_name(weight.device) if weight.is_cuda else weight.device.type
    ended = time.perf_counter()
    seconds = {"read": 0, "factor": factored - started, "solve": ended - factored, "refit": 0}
    report: Any = {
        **{"method": options.method, "rows": rows, "cols": cols, "pattern": options.pattern},
        **{"sparsity": zeros / weight.numel(), "zeros": zeros, "loss": loss, "relative_error": error},
        **{"damping": damping, "iterations": 0, "refit_steps": 0, "notes": [], **figures},
        **{"backend": weight.device.type, "adapter": f"PyTorch {torch.__version__} on {name}"},
        **{"seconds": {**seconds, "total": ended - started}, "factor_reused": is_reused},
    }
    return PrunedLayer(answer, ~pruned, None, report)


def _choose_mask(weight: Tensor, hessian: Any, options: LocalOptions) -> Tensor:
    """Return the entries that Wanda prunes per row (arXiv 2306.11695), or magnitude in the whole layer."""
    is_wanda, total = options.method == "wanda", int(options.sparsity * weight.numel() + 0.5)
    scores = weight.abs() * hessian.diagonal().sqrt() if is_wanda else weight.abs()
    if options.groups[1] > 1:
        return smallest_in_groups(scores, options)
    if not is_wanda:
        return smallest(scores.flatten(), total).view_as(scores)
    bounds = torch.arange(len(weight) + 1, device=weight.device) * total // len(weight)
    return smallest(scores, bounds.diff()[:, None])


def _choose_result(
    dense: Tensor, q: Tensor, pruned: Tensor, hessian: Tensor | None, options: LocalOptions
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return the result with the smallest loss on held-out inputs (`src/layer/validation/choose_result.ts`).

    Dense weights on the mask, rounded to nearest, may replace rows of `q`, and the mask of magnitude may
    replace all of it. Of 256 rows or more, a sample first shows whether the dense weights are worth it.
    """
    if hessian is None:
        return q, pruned, {}

    def nearest(mask: Tensor) -> tuple[Tensor, Tensor]:
        kept, identity = dense.masked_fill(mask, 0), torch.eye(len(hessian), device=dense.device)
        kept = run_columns(kept, identity, options, mask)[0] if options.bits else kept
        return kept, _losses(dense - kept, hessian)

    losses, nearest_rows, choice = _losses(dense - q, hessian), 0, "method"
    if options.method == "sparsegpt" or options.bits:
        kept, others = nearest(pruned)
        step = 1 if len(dense) < 256 else min(8, len(dense) // 64)
        if step == 1 or (losses - others)[::step].clamp(min=0).sum() > 0.01 * losses[::step].sum():
            nearest_rows = int((others < losses).sum())
            q, losses = torch.where((others < losses)[:, None], kept, q), losses.minimum(others)
    if options.method != "magnitude" and (options.groups[1] > 1 or options.sparsity > 0):
        mask = _choose_mask(dense, None, replace(options, method="magnitude"))
        kept, others = nearest(mask)
        if others.sum() < losses.sum():
            q, pruned, losses, nearest_rows, choice = kept, mask, others, 0, "magnitude"
    loss, error = _figures(losses, dense, hessian)
    figures = {"validation_loss": loss, "validation_error": error, "validation_choice": choice}
    return q, pruned, {**figures, "nearest_rows": nearest_rows}


def _losses(change: Tensor, hessian: Tensor) -> Tensor:
    """Return ΔHΔᵀ of each row, (rows)."""
    return (change @ hessian * change).sum(1)


def _figures(losses: Any, dense: Tensor, hessian: Tensor | None) -> tuple[float | None, float | None]:
    """Return the loss of the layer, and its share in tr(WHWᵀ), or None if this is 0 or without statistics."""
    if hessian is None:
        return None, None
    loss, size = float(losses.sum()), float(_losses(dense, hessian).sum())
    return loss, loss / size if size else None


def inverse_factor(hessian: Tensor, damping: float) -> tuple[Tensor, float]:
    """Return U, upper triangular with UᵀU = (H + λ·mean(diag H)·I)⁻¹, and λ, which grows until H is factored.

    It is computed in float64, on the CPU if the device has none.
    """
    exact = (hessian.cpu() if hessian.device.type == "mps" else hessian).double()
    diagonal = exact.diagonal()
    if not (exact.isfinite().all() and diagonal.min() >= 0):
        raise ValueError("hessian: must be finite, without negative numbers on its diagonal")
    diagonal[diagonal == 0] = 1
    original, mean = diagonal.clone(), diagonal.mean()
    while True:
        diagonal.copy_(original + damping * mean)
        # The lower factor of the reversed matrix is R in H = R·Rᵀ, reversed, and U is R⁻¹.
        lower, failed = torch.linalg.cholesky_ex(exact.flip(0, 1))
        if not failed:
            u = torch.linalg.solve_triangular(lower.flip(0, 1), torch.eye(len(exact)).to(exact), upper=True)
            return u.float().to(hessian.device), damping
        if damping >= 1:
            detail = f"the Hessian of {len(exact)} inputs cannot be factored with the damping {damping}"
            raise NotPositiveDefiniteError("not_positive_definite", 422, detail)
        damping = min(1.0, max(0.01, 10 * damping))
