"""Chooses the layers to prune by patterns or by a function."""

from collections.abc import Callable, Sequence

from pare_llm.pruning.model.layers import Layer
from pare_llm.statistics.choose_layers import choose_layers as matching_names

LayerChoice = str | Sequence[str] | Callable[[str], bool]
"""Patterns for the names of layers, or a function that returns whether the layer of a name is pruned."""


def choose_layers(layers: Sequence[Layer], choice: LayerChoice | None) -> list[Layer]:
    """Return the layers that `choice` selects, in their order. Without a choice, return all layers.

    `choose_layers` of `pare_llm.statistics` describes the patterns.

    Raises:
        ValueError: if a pattern is malformed or matches no layer, or if no layer is chosen.
    """
    if choice is None:
        chosen = list(layers)
    elif callable(choice):
        chosen = [layer for layer in layers if choice(layer.name)]
    else:
        patterns = [choice] if isinstance(choice, str) else choice
        names = set(matching_names([layer.name for layer in layers], patterns))
        chosen = [layer for layer in layers if layer.name in names]
    if not chosen:
        raise ValueError(f"layers: chooses none of the {len(layers)} linear layers of the blocks")
    return chosen
