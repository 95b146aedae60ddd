"""Measures the errors that the solver makes at several sparsities of each layer, which are called levels.

The layers are solved with the statistics of the dense model. If batches are held out, their errors count. The
host factors the Hessian of a layer once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from pare_llm.pruning.allocation.dense_pass import DensePass
from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.calibration.block_error import has_held_out
from pare_llm.pruning.calibration.record_hessians import pack_hessians
from pare_llm.pruning.input_statistics import InputStatistics, with_damping
from pare_llm.pruning.layer_client import host_count
from pare_llm.pruning.model.layers import Layer

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery

# The number of levels below the sparsity of the run. There are as many levels above it.
_REACH = 2

# The largest distance between neighbouring levels. `src/prune/allocation/allocate_error.ts` gives the reason.
_LARGEST_STEP = 0.025


def allocate_by_error(
    dense: DensePass, layers: Sequence[Layer], sparsity: float, solver: BlockSolver
) -> tuple[list[float], list[str]]:
    """Return the sparsity of each layer, and the measurements as sentences.

    The choice minimises the sum of the relative errors of the layers, where each error is multiplied by the
    number of weights of the layer.
    """
    step = min(_LARGEST_STEP, sparsity / _REACH, (1 - sparsity) / (_REACH + 1))
    levels = [sparsity + level * step for level in range(-_REACH, _REACH + 1)]
    measured = _measure_errors(dense, layers, levels, solver)
    sizes = [rows * cols for rows, cols in (layer.shape for layer in layers)]
    errors = [
        [size * error for error in measured[layer.name]] for size, layer in zip(sizes, layers, strict=True)
    ]
    chosen = choose_levels(sizes, errors)
    before = sum(of_levels[_REACH] for of_levels in errors) / sum(sizes)
    after = sum(of_levels[level + _REACH] for of_levels, level in zip(errors, chosen, strict=True)) / sum(
        sizes
    )
    place = " on held-out batches" if has_held_out(dense.hidden) else ""
    note = (
        f"The mean relative error of a layer, weighted by the sizes of the layers, is {after:#.4g}, instead "
        f"of {before:#.4g} with one sparsity for all layers. Both errors were measured with the statistics "
        f"of the dense model{place}."
    )
    return [sparsity + level * step for level in chosen], [note]


def _measure_errors(
    dense: DensePass, layers: Sequence[Layer], sparsities: Sequence[float], solver: BlockSolver
) -> dict[str, list[float]]:
    """Return the relative errors of each layer at each sparsity. Each rank solves some of the layers.

    They are measured on the held-out batches, or on the others if no held-out token reached the layer.
    """
    errors: dict[str, list[float]] = {}
    client = solver.client
    for pending, recorder in dense.record(layers):
        own = solver.own_layers(pending)
        statistics = pack_hessians(recorder, own, client, solves=len(sparsities))
        weights = {layer.name: layer.read() for layer in pending}

        def error_of(
            name: str,
            sparsity: float,
            weights: Mapping[str, Tensor] = weights,
            known: Mapping[str, InputStatistics] = statistics,
        ) -> float:
            weight, of_layer = weights[name], known[name]
            query = _level_query(solver.queries[name], sparsity)
            query = with_damping(query, of_layer.tokens, weight.shape[1], of_layer.is_validated)
            report = of_layer.prune(weight, query).report
            return report.get("validation_error", report["relative_error"]) or 0.0

        def solve(names: Sequence[str] = [layer.name for layer in own]) -> dict[str, list[float]]:
            with ThreadPoolExecutor(host_count(client), "pare") as executor:
                solving = {
                    name: [executor.submit(error_of, name, sparsity) for sparsity in sparsities]
                    for name in names
                }
                try:
                    return {
                        name: [each.result() for each in of_levels] for name, of_levels in solving.items()
                    }
                finally:
                    executor.shutdown(cancel_futures=True)

        for of_rank in solver.ranks.collect(solver.ranks.together(solve)):
            errors |= of_rank
        for each in set(statistics.values()):
            each.delete()
    return errors


def _level_query(query: LayerQuery, sparsity: float) -> LayerQuery:
    """Return the parameters of one level, with SparseGPT for slower methods, whose errors grow similarly."""
    method = query["method"] if query["method"] in ("magnitude", "wanda") else "sparsegpt"
    # A damping that is chosen would take several more solves.
    kept = {name: query[name] for name in ("blocksize", "damping") if query.get(name, "auto") != "auto"}
    return cast("LayerQuery", {**kept, "method": method, "sparsity": sparsity, "error": True})


# The largest number of states. Sizes are divided by their greatest common divisor first, so the layers of
# published models need far fewer states. If more were needed, the sizes are rounded, and the costs add up
# only approximately to 0.
_MAX_STATES = 1 << 18


def choose_levels(sizes: Sequence[int], errors: Sequence[Sequence[float]]) -> list[int]:
    """Return the level k of each layer, with Σ k·size = 0 and the smallest Σ error.

    Args:
        sizes: the number of weights of each layer.
        errors: for each layer, the errors of the levels −K, …, K, where K is the same for all layers.
    """
    reach = len(errors[0]) // 2
    units = _unit_sizes(sizes, reach)
    half = reach * sum(units)
    # best[half + cost] is the smallest sum of errors so far, over all choices whose costs add up to `cost`.
    best = torch.full((2 * half + 1,), math.inf, dtype=torch.float64)
    best[half] = 0
    chosen: list[torch.Tensor] = []
    for unit, of_levels in zip(units, errors, strict=True):
        following = torch.full_like(best, math.inf)
        choice = torch.zeros(len(best), dtype=torch.int8)
        for level, error in enumerate(of_levels, -reach):
            cost = level * unit
            sums = torch.full_like(best, math.inf)
            sums[max(0, cost) : len(best) + min(0, cost)] = (
                best[max(0, -cost) : len(best) - max(0, cost)] + error
            )
            is_better = sums < following
            following = torch.where(is_better, sums, following)
            choice[is_better] = level
        best = following
        chosen.append(choice)
    levels: list[int] = []
    state = half
    for unit, choice in zip(reversed(units), reversed(chosen), strict=True):
        levels.append(int(choice[state]))
        state -= levels[-1] * unit
    return levels[::-1]


def _unit_sizes(sizes: Sequence[int], reach: int) -> list[int]:
    """Divide the sizes by their greatest common divisor, and round if they need too many states."""
    divisor = math.gcd(*sizes)
    quotients = [size // divisor for size in sizes]
    states = 2 * reach * sum(quotients) + 1
    if states <= _MAX_STATES:
        return quotients
    return [max(1, int(size * _MAX_STATES / states + 0.5)) for size in quotients]
