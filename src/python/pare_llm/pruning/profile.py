"""Reads profiles, which set other parameters for some layers, in the format of `pare prune --profile`.

A profile is a list of rules. Each rule sets parameters for the layers that match a pattern, or skips these
layers. Later rules override earlier ones, parameter by parameter.

    [{"match": "fc2", "sparsity": 0.3}, {"match": "*.layers.0.*", "skip": True}]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pare_llm.client.layer_query import LayerQuery

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
    """Return the rules of a profile.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not JSON, or a rule is malformed. The message names the rule.
    """
    if isinstance(profile, (str, Path)):
        try:
            profile = json.loads(Path(profile).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"profile: {profile} is not valid JSON: {error}") from error
    if not isinstance(profile, Sequence) or isinstance(profile, str):
        raise ValueError(f"profile: must be a list of rules, got {type(profile).__name__}")
    return [_read_rule(index, rule) for index, rule in enumerate(profile)]


def merge_parameters(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sets of parameters. `later` overrides `earlier`.

    A new pattern in `later` also removes the sparsity of `earlier`, because the sparsity would contradict the
    pattern.
    """
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
    return ProfileRule(match, skip, parameters)
