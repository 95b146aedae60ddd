"""Chooses the weights of a model whose zeros are kept."""

import json
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from torch import nn

from pare_llm.arguments import require, require_texts
from pare_llm.finetuning.model_weights import ModelWeight, model_weights
from pare_llm.layers.find_layers import choose_layers
from pare_llm.pruning.prune_report import REPORT_FILE


def choose_weights(
    model: nn.Module,
    *,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
) -> list[ModelWeight]:
    """List the weights that `layers` or the report in `folder` names, or else all weights of linear layers.

    If a weight holds several layers, only the named ones are listed. Raises a ValueError if both `layers` and
    `folder` are given, or if a name matches no weight, several weights, or one that is never masked.
    """
    weights = model_weights(model)
    if layers is not None and folder is not None:
        raise ValueError("layers and folder: only one of the two can name the weights")
    if folder is not None:
        require("folder", folder, (str, PathLike), "a path")
        return _restrict(weights, _find_all(weights, pruned_layers(folder), Path(folder) / REPORT_FILE))
    if layers is None:
        return [weight for weight in weights if weight.layers and weight.refusal is None]
    require_texts("layers", layers)
    patterns = [layers] if isinstance(layers, str) else layers
    return _restrict(weights, {name for pattern in patterns for name in _match(weights, pattern)})


def pruned_layers(folder: str | PathLike[str]) -> list[str]:
    """Read the names of the weights with zeros from pare.json. Raise a ValueError if it has none."""
    path = Path(folder) / REPORT_FILE
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        names = [str(layer["name"]) for layer in layers if layer["zeros"] > 0]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not the report of a run of pare prune: {error!r}") from error
    if not names:
        raise ValueError(f"{path}: lists no layer with zeros")
    return names


def _restrict(weights: list[ModelWeight], names: set[str]) -> list[ModelWeight]:
    """List the weights that have one of the names, each with only the layers that have one of the names."""
    chosen: list[ModelWeight] = []
    for weight in weights:
        layers = {name: layer for name, layer in weight.layers.items() if name in names}
        if layers:
            chosen.append(replace(weight, layers=layers))
        elif names.intersection(weight.layer_names):
            chosen.append(weight)
    return chosen


def _match(weights: list[ModelWeight], pattern: str) -> list[str]:
    """List the linear layers that match `pattern`. If there are none, list other weights that match it.

    Raises a ValueError if nothing matches, or if all matches are never masked.
    """
    linear = [weight for weight in weights if weight.layers and weight.refusal is None]
    every, own = ([name for each in among for name in each.layer_names] for among in (weights, linear))
    try:
        return choose_layers(own, pattern)
    except ValueError as error:
        no_match = error
    try:
        names = choose_layers(every, pattern)
    except ValueError:
        raise no_match from None
    others = [weight for weight in weights if not set(names).isdisjoint(weight.layer_names)]
    maskable = [name for weight in others if weight.refusal is None for name in weight.layer_names]
    if not maskable:
        raise ValueError(f"layers: {pattern!r} names {others[0].name}, which {others[0].refusal}")
    return [name for name in names if name in maskable]


def _find_all(weights: list[ModelWeight], names: list[str], report: Path) -> set[str]:
    """Find the layers that have the names in the report. No two names may match the same layer.

    The name in the report may lack the first parts of the name in the model, and the other way round, because
    transformers loads a checkpoint with or without the prefix of the base model.
    """
    by_name: dict[str, tuple[str, ModelWeight]] = {}
    by_end: dict[str, list[str]] = {}
    for weight in weights:
        for layer in weight.layer_names:
            stored = weight.name if not weight.layers and layer == weight.name else f"{layer}.weight"
            by_name[stored] = (layer, weight)
            for end in _ends(stored):
                by_end.setdefault(end, []).append(stored)
    found: dict[str, str] = {}
    for name in names:
        matches = [name] if name in by_name else by_end.get(name) or [e for e in _ends(name) if e in by_name]
        if not matches:
            raise ValueError(f"{report}: the pruned weight {name} is not in the model")
        if len(matches) > 1:
            raise ValueError(f"{report}: the pruned weight {name} may be {' or '.join(matches)}")
        layer, weight = by_name[matches[0]]
        if weight.refusal is not None:
            raise ValueError(f"{report}: the pruned weight {name} {weight.refusal}")
        if layer in found:
            raise ValueError(f"{report}: {found[layer]} and {name} both match {matches[0]}")
        found[layer] = name
    return set(found)


def _ends(name: str) -> list[str]:
    """Return the name, and the name without its first parts."""
    parts = name.split(".")
    return [".".join(parts[first:]) for first in range(len(parts))]
