"""The parameters of the layers of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery

DEFAULT_METHOD = "alps"
"""The method of `prune_`, as of the command `pare prune`.

A request for one layer has the default `sparsegpt`, because it needs no forward passes, beside which ALPS is
cheap.
"""

DEFAULT_SPARSITY = 0.5
UNSTRUCTURED = "unstructured"
"""The default pattern."""


def layer_query(query: Mapping[str, Any]) -> LayerQuery:
    """Return the parameters to send with each layer: those that were given, and the method.

    Raises:
        TypeError: if a parameter cannot be the same for all layers of a model.
    """
    if "hessian" in query:
        raise TypeError("prune_: records the statistics itself, so it has no parameter hessian")
    if query.get("dtype", "same") != "same":
        raise TypeError(
            f"dtype: must be 'same', because weights keep the dtype of the model; got {query['dtype']!r}"
        )
    given = {name: value for name, value in query.items() if value is not None}
    return cast("LayerQuery", {"method": DEFAULT_METHOD, **given})


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
