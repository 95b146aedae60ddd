"""Chooses the sparsity of each layer, so that the number of zeros of all layers together is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pare_llm.pruning.allocation.dense_pass import DensePass
from pare_llm.pruning.allocation.error import allocate_by_error
from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.parameters import DEFAULT_SPARSITY, UNSTRUCTURED
from pare_llm.pruning.prune_report import Allocation

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery

AllocationName = Literal["uniform", "owl", "error"]
"""How the zeros are spread over the layers. `uniform` gives all layers the sparsity of the run."""


@dataclass(frozen=True)
class AllocationRequest:
    """The layers over which the zeros are spread, and their share."""

    name: AllocationName
    layers: Sequence[Layer]
    sparsity: float

    def allocate(self, dense: DensePass, solver: BlockSolver) -> Allocation:
        """Spread exactly round(sparsity · weights) zeros over the layers. Every rank must call this."""
        if self.name == "owl":
            sparsities, notes = _allocate_owl(dense, self.layers, self.sparsity)
        else:
            sparsities, notes = allocate_by_error(dense, self.layers, self.sparsity, solver)
        entries = [_entries(layer) for layer in self.layers]
        counts = exact_counts(entries, sparsities, int(self.sparsity * sum(entries) + 0.5))
        chosen = {
            layer.weight_name: sparsity_of(zeros, count)
            for layer, zeros, count in zip(self.layers, counts, entries, strict=True)
        }
        # Every rank takes the numbers of one rank, because sums may differ in their last bits.
        return dense.hidden.ranks.share(Allocation(self.name, chosen, notes), 0)


def allocation_request(
    name: AllocationName, chosen: Mapping[Layer, Mapping[str, Any]], query: LayerQuery
) -> AllocationRequest | None:
    """Return the allocation of a run, or None if every layer has the sparsity in its parameters.

    `chosen` has the parameters that the profile sets for each layer. A sparsity or an n:m pattern among them
    overrides the allocation. A ValueError says that the name is unknown or that every sparsity is fixed.
    """
    if name == "uniform":
        return None
    if name not in ("owl", "error"):
        raise ValueError(f"allocate: must be uniform, owl or error, got {name!r}")
    pattern = query.get("pattern", UNSTRUCTURED)
    if pattern != UNSTRUCTURED:
        raise ValueError(
            f"allocate={name!r}: needs unstructured sparsity, but the pattern {pattern} fixes the sparsity "
            "of every layer"
        )
    layers = [
        layer
        for layer, parameters in chosen.items()
        if "sparsity" not in parameters and parameters.get("pattern", UNSTRUCTURED) == UNSTRUCTURED
    ]
    if not layers:
        raise ValueError(
            f"allocate={name!r}: has no layer to allocate zeros to, because the profile sets the sparsity or "
            f"the pattern of all {len(chosen)} layers"
        )
    return AllocationRequest(name, layers, query.get("sparsity", DEFAULT_SPARSITY))


def _allocate_owl(
    dense: DensePass, layers: Sequence[Layer], sparsity: float
) -> tuple[list[float], list[str]]:
    """Return the sparsity of each layer, and the measurements as sentences."""
    outliers: dict[int, float] = {}
    # The published norms of the inputs, in which every token has its own length.
    for pending, recorder in replace(dense, token_weights="none").record(layers):
        scored = [(layer.read(), recorder.hessians[layer.local_name].matrix.diagonal()) for layer in pending]
        outliers[pending[0].block.index] = outlier_percentage(scored)
    entries = [sum(_entries(layer) for layer in layers if layer.block.index == block) for block in outliers]
    wanted = dict(zip(outliers, owl_sparsities(list(outliers.values()), entries, sparsity), strict=True))
    shares = ", ".join(f"block {block} {share:.3f} %" for block, share in outliers.items())
    note = f"The share of outliers among the weights of each block: {shares}."
    return [wanted[layer.block.index] for layer in layers], [note]


def _entries(layer: Layer) -> int:
    rows, cols = layer.shape
    return rows * cols


# M of the paper.
_OUTLIER_FACTOR = 5

# λ of the paper, which is half of the range of the blocks' sparsities.
_LARGEST_DEVIATION = 0.08


def outlier_percentage(layers: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return D of the paper: the percentage of outliers in a block, from W (out, in) and H[j,j] (in)."""
    scores = [weight.float().abs() * norms.to(weight.device).sqrt() for weight, norms in layers]
    entries = sum(score.numel() for score in scores)
    total = sum(score.sum(dtype=torch.float64).item() for score in scores)
    threshold = _OUTLIER_FACTOR * total / entries
    return 100 * sum(int((score > threshold).sum()) for score in scores) / entries


def owl_sparsities(outliers: Sequence[float], entries: Sequence[int], sparsity: float) -> list[float]:
    """Return the sparsity of each block: `sparsity` + mean(r) − r with r = (D − min D)/(max D − min D)·2λ.

    The mean is weighted by the numbers of weights, so the model as a whole has the sparsity `sparsity`. The
    paper takes the plain mean, which is the same if all blocks have the same size.
    """
    lowest, span = min(outliers), max(outliers) - min(outliers)
    raised = [0 if span == 0 else (d - lowest) / span * 2 * _LARGEST_DEVIATION for d in outliers]
    mean = sum(value * count for value, count in zip(raised, entries, strict=True)) / sum(entries)
    return [sparsity + mean - value for value in raised]


# After these steps, the interval of the bisection is smaller than the precision of float64.
_HALVINGS = 64

# A sparsity must be less than 1, so n zeros of n weights have the sparsity (n − 0.25)/n, which rounds to n.
_BELOW_ONE = 0.25


def exact_counts(entries: Sequence[int], sparsities: Sequence[float], total: int) -> list[int]:
    """Return the number of zeros of each layer. The counts add up to `total`.

    If the wanted sparsities, between −1 and 2, give another total, the same number is added to all. A
    sparsity outside of 0 to 1 is clamped, and the other layers compensate for the difference.
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
