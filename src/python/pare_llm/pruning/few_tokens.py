"""Raises the damping of experts that fewer calibration tokens reached than they have columns.

The Hessian of such an expert is singular: it says nothing about most directions, and is noisy in the others.
`src/client/few_tokens.ts` gives the measurements behind the rule, which is that of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pare_llm.pruning.parameters import needs_no_statistics

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery
    from pare_llm.client.report import Report

DEFAULT_DAMPING = 0.01
MAX_DAMPING = 1.0


def with_damping(query: LayerQuery, tokens: int | None, columns: int) -> LayerQuery:
    """Return the parameters of a layer that `tokens` tokens reached. None means that all tokens did."""
    # A layer that no token reached has the identity as its Hessian, which needs no damping.
    if tokens is None or tokens == 0 or tokens >= columns or needs_no_statistics(query):
        return query
    return {**query, "damping": MAX_DAMPING}


def with_note(report: Report, query: Mapping[str, object], tokens: int | None, columns: int) -> Report:
    """Add a note to the report of a layer with few tokens. `query` has the parameters without a rise."""
    if tokens is None or tokens >= columns or needs_no_statistics(query):
        return report
    if tokens == 0:
        note = (
            "No calibration token reached this layer, so only the magnitudes of its weights decided which "
            "are pruned. Its loss is measured with the identity as its Hessian."
        )
    else:
        note = f"Only {tokens} calibration tokens reached this layer, which has {columns} columns"
        requested = query.get("damping", DEFAULT_DAMPING)
        if report["damping"] is not None and requested != MAX_DAMPING:
            note += f", so its damping was raised from {requested} to {MAX_DAMPING:g}"
        note += "."
    return {**report, "notes": [*report["notes"], note]}
