"""Chooses the sparsity of each layer, so that the number of zeros of all layers together is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pare_llm.pruning.allocation.allocation import Allocation
from pare_llm.pruning.allocation.dense_pass import DensePass
from pare_llm.pruning.allocation.error import allocate_by_error
from pare_llm.pruning.allocation.exact_counts import exact_counts, sparsity_of
from pare_llm.pruning.allocation.owl import outlier_percentage, owl_sparsities
from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.parameters import DEFAULT_SPARSITY, UNSTRUCTURED

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
        """Spread exactly round(sparsity · weights) zeros over the layers.

        Every rank has to call this method.
        """
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
        return dense.ranks.share(Allocation(self.name, chosen, notes), 0)


def allocation_request(
    name: AllocationName, chosen: Mapping[Layer, Mapping[str, Any]], query: LayerQuery
) -> AllocationRequest | None:
    """Return the allocation of a run, or None if every layer has the sparsity in its parameters.

    A rule of the profile that sets a sparsity or an n:m pattern overrides the allocation for its layers.

    Args:
        name: the value of `allocate=`.
        chosen: the layers, each with the parameters that the profile sets for it.
        query: the parameters of the run.

    Raises:
        ValueError: if the name is unknown, or if the sparsity of every layer is fixed already.
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
    for pending, recorder in dense.record(layers):
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
