"""Chooses the layers to prune by patterns or by a function, and by the rules of a profile."""

from collections.abc import Callable, Sequence
from typing import Any

from pare_llm.layers.find_layers import choose_layers as matching_names
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.parameters import ProfileRule, merge_parameters

LayerChoice = str | Sequence[str] | Callable[[str], bool]
"""Patterns for the names of layers, or a function that returns whether the layer with a name is chosen."""


def choose_layers(
    layers: Sequence[Layer],
    choice: LayerChoice | None,
    ignore: LayerChoice | None = None,
    profile: Sequence[ProfileRule] = (),
    dense: Sequence[str] = (),
) -> dict[Layer, dict[str, Any]]:
    """Return the chosen layers in their order, each with the parameters that the profile sets for it.

    A layer is chosen if `choice` selects it and `ignore` does not, unless a rule of the profile decides.
    Without a choice, all layers are selected. `ignore` may also match `dense`, the names of matrices that are
    never pruned. A ValueError names a pattern that is malformed or matches none.
    """
    names = [layer.name for layer in layers]
    selected = set(names) if choice is None else _selected(names, choice, "layers")
    ignored = set() if ignore is None else _selected([*names, *dense], ignore, "ignore")
    rules = [
        (rule, set(matching_names(names, rule.match, f"profile rule {index}")))
        for index, rule in enumerate(profile)
    ]
    chosen: dict[Layer, dict[str, Any]] = {}
    for layer in layers:
        is_chosen = layer.name in selected and layer.name not in ignored
        parameters: dict[str, Any] = {}
        for rule, matches in rules:
            if layer.name in matches:
                is_chosen = is_chosen if rule.skip is None else not rule.skip
                parameters = merge_parameters(parameters, rule.parameters)
        if is_chosen:
            chosen[layer] = parameters
    if not chosen:
        raise ValueError(f"layers: chooses none of the {len(layers)} linear layers of the blocks")
    return chosen


def _selected(names: Sequence[str], choice: LayerChoice, option: str) -> set[str]:
    return set(filter(choice, names) if callable(choice) else matching_names(names, choice, option))
