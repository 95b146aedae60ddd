"""Decides which rank prunes which layer of a block."""

from collections.abc import Sequence

from pare_llm.pruning.model.layers import Layer


def assign_ranks(layers: Sequence[Layer], count: int) -> dict[str, int]:
    """Return the rank of each layer, by the name of the layer.

    The layers are assigned in the order of falling cost, each to the rank with the least cost so far. The
    cost of a layer is rows·cols², the number of operations of a solve. All ranks compute the same assignment.
    """
    loads = [0] * count
    ranks: dict[str, int] = {}
    for layer in sorted(layers, key=lambda layer: -_cost(layer)):
        rank = loads.index(min(loads))
        ranks[layer.name] = rank
        loads[rank] += _cost(layer)
    return ranks


def _cost(layer: Layer) -> int:
    rows, cols = layer.shape
    return rows * cols * cols
