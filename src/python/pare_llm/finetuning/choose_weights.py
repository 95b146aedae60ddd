"""Chooses the weights of a model whose zeros are kept."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from torch import nn

from pare_llm.finetuning.model_weights import ModelWeight, model_weights
from pare_llm.pruning.report.prune_report import REPORT_FILE
from pare_llm.statistics.choose_layers import choose_layers


def choose_weights(
    model: nn.Module,
    *,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
) -> list[ModelWeight]:
    """List the weights that `layers` or the report in `folder` names, or else all weights of linear layers.

    Args:
        model: A module, also inside the wrappers that `model_weights` knows.
        layers: One or more patterns, see `choose_layers` of `pare_llm.statistics`.
        folder: A folder that `pare prune` wrote. Its pare.json names the pruned weights.

    Raises:
        ValueError: If both are given, or if a name has no weight, has several, or has one that is never
        masked.
    """
    weights = model_weights(model)
    if layers is not None and folder is not None:
        raise ValueError("layers and folder: only one of the two can name the weights")
    if folder is not None:
        return _find_all(weights, pruned_layers(folder), Path(folder) / REPORT_FILE)
    if layers is None:
        return [weight for weight in weights if weight.is_linear and weight.refusal is None]
    patterns = [layers] if isinstance(layers, str) else layers
    chosen = {id(weight): weight for pattern in patterns for weight in _match(weights, pattern)}
    return [weight for weight in weights if id(weight) in chosen]


def pruned_layers(folder: str | PathLike[str]) -> list[str]:
    """Read from the pare.json in `folder` the names of the weights that have zeros.

    Raises:
        FileNotFoundError: If there is no pare.json.
        ValueError: If the file does not name such weights.
    """
    path = Path(folder) / REPORT_FILE
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        names = [str(layer["name"]) for layer in layers if layer["zeros"] > 0]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not the report of a run of pare prune: {error!r}") from error
    if not names:
        raise ValueError(f"{path}: lists no layer with zeros")
    return names


def _match(weights: list[ModelWeight], pattern: str) -> list[ModelWeight]:
    """List the linear weights that match `pattern`. If there are none, list the other weights that match."""
    linear = [weight for weight in weights if weight.is_linear and weight.refusal is None]
    try:
        return _matches(linear, pattern)
    except ValueError:
        others = _other_matches(weights, pattern)
        if not others:
            raise
    maskable = [weight for weight in others if weight.refusal is None]
    if not maskable:
        raise ValueError(f"layers: {pattern!r} names {others[0].name}, which {others[0].refusal}")
    return maskable


def _matches(weights: list[ModelWeight], pattern: str) -> list[ModelWeight]:
    """List the weights of the layers that match `pattern`. Raises ValueError if there are none."""
    by_layer = {layer: weight for weight in weights for layer in weight.layers}
    found = {id(by_layer[layer]) for layer in choose_layers(by_layer, pattern)}
    return [weight for weight in weights if id(weight) in found]


def _other_matches(weights: list[ModelWeight], pattern: str) -> list[ModelWeight]:
    try:
        return _matches(weights, pattern)
    except ValueError:
        return []


def _find_all(weights: list[ModelWeight], names: list[str], report: Path) -> list[ModelWeight]:
    """Find the weights with the names of a checkpoint. No two names may have the same weight."""
    found: dict[str, tuple[str, ModelWeight]] = {}
    for name in names:
        weight = _find(weights, name, report)
        if weight.name in found:
            raise ValueError(f"{report}: {found[weight.name][0]} and {name} both match {weight.name}")
        found[weight.name] = (name, weight)
    return [weight for _, weight in found.values()]


def _find(weights: list[ModelWeight], name: str, report: Path) -> ModelWeight:
    """Find the weight with the name of a checkpoint.

    Either name may lack the first parts of the other, because transformers loads a checkpoint with or without
    the prefix of the base model.
    """
    found = [weight for weight in weights if weight.name == name] or [
        weight for weight in weights if name.endswith(f".{weight.name}") or weight.name.endswith(f".{name}")
    ]
    if not found:
        raise ValueError(f"{report}: the pruned weight {name} is not in the model")
    if len(found) > 1:
        names = " or ".join(weight.name for weight in found)
        raise ValueError(f"{report}: the pruned weight {name} may be {names}")
    if found[0].refusal is not None:
        raise ValueError(f"{report}: the pruned weight {name} {found[0].refusal}")
    return found[0]
