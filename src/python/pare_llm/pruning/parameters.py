"""The parameters of the layers of a run, and the rules of a profile that change them for some layers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from pare_llm.arguments import require
from pare_llm.client.layer_query import LayerQuery, Method
from pare_llm.statistics.hessian import DEFAULT_TOKEN_WEIGHTS

DEFAULT_METHOD: Method = "alps"
"""The method of `prune_`, as of the command `pare prune`. The default of a single request is `sparsegpt`."""

DEFAULT_SPARSITY = 0.5
UNSTRUCTURED = "unstructured"


# The classes of values by the types in `LayerQuery`, with their names in messages.
_CLASSES: Mapping[type, tuple[type, str]] = {
    float: (Real, "a number"),
    int: (Integral, "a whole number"),
    bool: (bool, "True or False"),
    str: (str, "a string"),
}


def require_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a TypeError that names an unknown parameter, and the known parameter with the nearest name."""
    known = sorted(known)
    for name in given:
        if name == "hessian":
            raise TypeError("prune_: records the statistics itself, so it has no parameter hessian")
        if name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {similar[0]!r}?" if similar else f"it has {', '.join(known)}"
            raise TypeError(f"prune_: has no parameter {name!r}; {advice}")


def _require_types(query: Mapping[str, Any], place: str = "") -> None:
    """Raise a TypeError, or a ValueError, that names a parameter whose value has the wrong type.

    The hosts check the ranges of numbers.
    """
    hints = get_type_hints(LayerQuery)
    for name, value in query.items():
        hint = hints[name]
        kinds = (hint,) if get_origin(hint) in (None, Literal) else get_args(hint)
        choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
        classes = [_CLASSES[kind] for kind in kinds if kind in _CLASSES]
        if value is None or (isinstance(value, str) and value in choices):
            continue
        rule = " or ".join([*(rule for _, rule in classes), *map(repr, choices)])
        if isinstance(value, str) and not classes:
            raise ValueError(f"{place}{name}: must be {rule}, got {value!r}")
        require(f"{place}{name}", value, tuple(kind for kind, _ in classes), rule)


def layer_query(query: Mapping[str, Any]) -> LayerQuery:
    """Return the parameters of each layer. None stands for the default.

    A TypeError or a ValueError names a value of the wrong type, or that cannot be the same for all layers.
    """
    if query.get("dtype", "same") != "same":
        raise TypeError(
            f"dtype: must be 'same', because weights keep the dtype of the model; got {query['dtype']!r}"
        )
    if query.get("pattern") == "columns":
        raise TypeError("pattern: columns would change the shapes of the model; use `pare shrink`")
    given = {name: value for name, value in query.items() if value is not None}
    _require_types(given)
    return cast("LayerQuery", {"method": DEFAULT_METHOD, "token_weights": DEFAULT_TOKEN_WEIGHTS, **given})


def needs_no_statistics(query: Mapping[str, Any]) -> bool:
    """Return whether the layers can be solved without calibration batches."""
    return query["method"] == "magnitude" and not query.get("refit") and query.get("bits") is None


def resolved_parameters(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for the report, with the defaults that every reader wants to see."""
    pattern = query.get("pattern", UNSTRUCTURED)
    sparsity = query.get("sparsity", DEFAULT_SPARSITY)
    if pattern != UNSTRUCTURED:
        kept, _, group = pattern.partition(":")
        sparsity = 1 - int(kept) / int(group)
    return {**query, "sparsity": sparsity, "pattern": pattern}


_ROUNDING_PARAMETERS = ("bits", "group_size", "symmetric", "order", "ranges", "scale_dtype", "scale_bits")


def without_rounding(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a layer that is rounded later, in another solve."""
    return {name: value for name, value in query.items() if name not in _ROUNDING_PARAMETERS}


def only_rounding(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a layer whose mask has all zeros already.

    All methods then round the other weights in the same way, so the fastest method replaces `method`.
    """
    names = ("refit", "effort", "target_step")
    kept = {name: value for name, value in query.items() if name not in names}
    if query.get("pattern", UNSTRUCTURED) == UNSTRUCTURED:
        # SparseGPT spreads a sparsity evenly over blocks of columns, so it would add zeros to the mask.
        kept["sparsity"] = 0.0
    return {**kept, "method": "sparsegpt"}


Profile = str | Path | Sequence[Mapping[str, Any]]
"""The path of a JSON file with the rules, or the rules."""

# All layers of a run keep their dtype.
_PARAMETERS = set(LayerQuery.__annotations__) - {"dtype"}


@dataclass(frozen=True)
class ProfileRule:
    """One rule of a profile."""

    match: str
    """A pattern, as `choose_layers` of `pare_llm.layers` describes it."""
    skip: bool | None
    """True leaves the layers dense. False chooses them, even if something before the rule excluded them."""
    parameters: dict[str, Any]
    """The parameters that the rule sets, by their names in `LayerQuery`."""


def read_profile(profile: Profile) -> list[ProfileRule]:
    """Return the rules of a profile. Raise a FileNotFoundError, or a ValueError that names a wrong rule."""
    if isinstance(profile, (str, Path)):
        try:
            profile = json.loads(Path(profile).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"profile: {profile} is not valid JSON: {error}") from error
    if not isinstance(profile, Sequence) or isinstance(profile, str):
        raise ValueError(f"profile: must be a list of rules, got {type(profile).__name__}")
    return [_read_rule(index, rule) for index, rule in enumerate(profile)]


def merge_parameters(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sets of parameters. A pattern in `later` also removes the sparsity of `earlier`."""
    merged = {**earlier, **later}
    has_new_pattern = "pattern" in later and later["pattern"] != earlier.get("pattern")
    if has_new_pattern and "sparsity" not in later:
        merged.pop("sparsity", None)
    return merged


def _read_rule(index: int, rule: Any) -> ProfileRule:
    if not isinstance(rule, Mapping):
        raise ValueError(f"profile: rule {index} must be an object, got {type(rule).__name__}")
    parameters = {name: value for name, value in rule.items() if name not in ("match", "skip")}
    match, skip = rule.get("match"), rule.get("skip")
    if not isinstance(match, str) or not match:
        raise ValueError(f"profile: rule {index} needs a pattern `match`, got {match!r}")
    if not isinstance(skip, bool | None):
        raise ValueError(f"profile: rule {index}: skip must be true or false, got {skip!r}")
    if unknown := [name for name in parameters if name not in _PARAMETERS]:
        raise ValueError(
            f"profile: rule {index} sets {unknown[0]!r}, which is not one of {', '.join(sorted(_PARAMETERS))}"
        )
    _require_types(parameters, f"profile: rule {index}: ")
    return ProfileRule(match, skip, parameters)
