"""Chooses one of several levels of sparsity for each layer, so that the sum of the errors is smallest.

Level k of a layer costs k times the size of the layer, and the costs must add up to 0, so a layer that is
pruned more (k > 0) is balanced by layers that are pruned less. The algorithm is dynamic programming over the
layers, and its state is the sum of the costs so far, as in `src/prune/allocation/choose_levels.ts`.
"""

import math
from collections.abc import Sequence

import torch

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
