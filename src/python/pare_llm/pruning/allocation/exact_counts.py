"""Converts the sparsities of layers into whole numbers of zeros that add up to an exact total.

This is the largest remainder method: every count is rounded down, and the layers with the largest fractional
parts get one more zero each. The sparsities are those of `src/prune/allocation/exact_counts.ts`.
"""

from collections.abc import Sequence

# After these steps, the interval of the bisection is smaller than the precision of float64.
_HALVINGS = 64

# A sparsity must be less than 1, so a layer with n weights that are all zero gets the sparsity (n − 0.25)/n.
# Because 0.25 is less than one half, the rounded number of zeros is still n.
_BELOW_ONE = 0.25


def exact_counts(entries: Sequence[int], sparsities: Sequence[float], total: int) -> list[int]:
    """Return the number of zeros of each layer. The counts add up to `total`.

    If the wanted sparsities give another total, the same number is added to all sparsities. A sparsity that
    would leave the range from 0 to 1 is clamped, and the other layers compensate for the difference.

    Args:
        entries: the number of weights of each layer.
        sparsities: the wanted fraction of zeros of each layer, between −1 and 2.
        total: the number of zeros of all layers together, at most the sum of `entries`.
    """
    shift = _find_shift(entries, sparsities, total)
    quotas = _quotas(entries, sparsities, shift)
    counts = [int(quota) for quota in quotas]
    missing = total - sum(counts)
    by_fraction = sorted(
        (i for i in range(len(counts)) if counts[i] < entries[i]), key=lambda i: (counts[i] - quotas[i], i)
    )
    for i in by_fraction[:missing]:
        counts[i] += 1
    return counts


def sparsity_of(zeros: int, entries: int) -> float:
    """Return a sparsity s < 1 with round(s·entries) = zeros, from which a solver gets the number of zeros."""
    return (entries - _BELOW_ONE) / entries if zeros == entries else zeros / entries


def _find_shift(entries: Sequence[int], sparsities: Sequence[float], total: int) -> float:
    """Return the largest number that can be added to all sparsities without more than `total` zeros."""
    low, high = -2.0, 2.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sum(_quotas(entries, sparsities, middle)) <= total:
            low = middle
        else:
            high = middle
    return low


def _quotas(entries: Sequence[int], sparsities: Sequence[float], shift: float) -> list[float]:
    return [
        count * min(1.0, max(0.0, sparsity + shift))
        for count, sparsity in zip(entries, sparsities, strict=True)
    ]
