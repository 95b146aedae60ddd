"""Remembers the layers that a failed run has pruned in a model, so that no later run prunes them twice."""

from collections.abc import Collection
from weakref import WeakKeyDictionary

from torch import nn

from pare_llm.client.errors import add_note
from pare_llm.layers.linear_layer import list_names
from pare_llm.pruning.fingerprint import checksum
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.model.sharding import is_shard

# The checksums of the weights that a failed run has pruned, by the model and by the name of the layer.
_PRUNED: "WeakKeyDictionary[nn.Module, dict[str, int]]" = WeakKeyDictionary()


def record_unfinished(model: nn.Module, pruned: Collection[Layer], total: int, error: BaseException) -> None:
    """Remember the layers that a failed run has pruned, and name them in a note of its error."""
    if pruned:
        _PRUNED[model] = {layer.name: _checksum(layer) for layer in pruned}
        names = list_names([layer.name for layer in pruned])
        add_note(
            error,
            f"prune_: {len(pruned)} of {total} layers are already pruned in the model, {names}. Load the "
            "model again before the next call. With the same journal, that call continues after them.",
        )


def require_unpruned(model: nn.Module, layers: Collection[Layer]) -> None:
    """Raise a ValueError if a failed run has pruned some of `layers`, unless their weights changed since."""
    before = _PRUNED.get(model, {})
    pruned = [layer for layer in layers if layer.name in before and before[layer.name] == _checksum(layer)]
    if pruned:
        raise ValueError(
            f"model: a failed call of prune_ has already pruned {len(pruned)} of the {len(layers)} layers, "
            f"{list_names([layer.name for layer in pruned])}; load the model again, or leave these layers "
            "out with ignore="
        )


def _checksum(layer: Layer) -> int:
    parameter = layer.linear.parameter.detach()
    return checksum(parameter if is_shard(parameter) else layer.linear.part(parameter))
