"""The calibration statistics of one input, which several layers may share.

`with_damping` raises the damping of an expert that fewer tokens reached than it has columns. Its Hessian is
singular. `src/client/few_tokens.ts` gives the measurements behind this rule of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from pare_llm.pruning.calibration.target_statistics import LayerTarget
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.parameters import needs_no_statistics

if TYPE_CHECKING:
    from pare_llm.client.answers import Report
    from pare_llm.client.layer import LayerTensors, PrunedLayer
    from pare_llm.client.layer_query import LayerQuery


class InputStatistics:
    """Prunes the layers that receive one input. It may be used by several threads."""

    def __init__(
        self,
        client: LayerClient,
        hessian_upper: Tensor,
        *,
        validation_upper: Tensor | None = None,
        is_shared: bool,
        tokens: int | None,
    ) -> None:
        """Store the Hessian at the host if several layers share it, so that it is sent and factored once.

        `validation_upper` is the Hessian of held-out inputs. It decides between the results of a solve.
        `tokens` is the number of tokens that reached an expert, or None if all tokens reached the layers.
        """
        self.tokens = tokens
        self._client = client
        self.is_validated = validation_upper is not None
        # `PareHosts` sends the statistics to a host when the host gets its first layer with this digest.
        self._digest = client.put_hessian(hessian_upper, validation_upper) if is_shared else None
        self._tensors: LayerTensors = (
            {"hessian": self._digest}
            if is_shared
            else {"hessian_upper": hessian_upper, "validation_hessian_upper": validation_upper}
        )

    def prune(
        self,
        weight: Tensor,
        query: LayerQuery,
        target: LayerTarget | None = None,
        mask: Tensor | None = None,
    ) -> PrunedLayer[Tensor]:
        """Prune a layer with these statistics. Raises the errors of `Pare.prune_layer`.

        If tokens are held out, they choose the step towards the target, unless `query` has a step.
        """
        if target and target.held_out is not None:
            query = {"target_step": "auto", **query}
        tensors: LayerTensors = {**self._tensors, "mask": mask}
        if target:
            tensors |= {"target": target.fitted, "validation_target": target.held_out}
        return self._client.prune_layer(weight, **tensors, **query)

    def delete(self) -> None:
        """Delete the statistics at the hosts."""
        if self._digest is not None:
            self._client.delete_hessian(self._digest)


DEFAULT_DAMPING = 0.01
MAX_DAMPING = 1.0


def with_damping(query: LayerQuery, tokens: int | None, columns: int, is_validated: bool) -> LayerQuery:
    """Return the parameters of a layer that `tokens` tokens reached. None means that all tokens did.

    An expert that no held-out token reached cannot choose its damping, and gets the default.
    """
    if tokens is not None and not is_validated and query.get("damping") == "auto":
        query = {**query, "damping": DEFAULT_DAMPING}
    # A layer that no token reached has the identity as its Hessian, which needs no damping.
    if tokens is None or tokens == 0 or tokens >= columns or needs_no_statistics(query):
        return query
    return {**query, "damping": MAX_DAMPING}


def without_step(query: LayerQuery) -> LayerQuery:
    """Return the parameters of a layer that is solved without a target."""
    query = query.copy()
    query.pop("target_step", None)
    return query


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
            change = "is" if requested == "auto" else f"was raised from {requested} to"
            note += f", so its damping {change} {MAX_DAMPING:g}"
        note += "."
    return {**report, "notes": [*report["notes"], note]}
