"""Checks a run before its first forward pass, so that a mistake does not cost a calibration."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pare_llm.arguments import require_function
from pare_llm.pruning.fingerprint import checksum
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.model.sharding import is_shard
from pare_llm.pruning.ranks import Ranks

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery

# The most facts that the message about ranks names, and the most characters of the value of a fact.
_LISTED, _MAX_LENGTH = 3, 100


def require_receivers(on_layer: object, tracker: object) -> None:
    """Raise a TypeError if the callback is not a function, or if the tracker lacks a method of `Tracker`."""
    require_function("on_layer", on_layer)
    methods = [getattr(tracker, name, None) for name in ("on_start", "on_layer", "on_report")]
    if tracker is not None and (isinstance(tracker, type) or not all(map(callable, methods))):
        kind = tracker.__name__ if isinstance(tracker, type) else type(tracker).__name__
        given = f"the class {kind} and not an object" if isinstance(tracker, type) else kind
        raise TypeError(
            f"tracker: must be an object with the methods on_start, on_layer and on_report, got {given}"
        )


def require_hosts(client: LayerClient, queries: Collection[LayerQuery]) -> None:
    """Have the hosts check the API key and each set of parameters. A client of another class checks nothing.

    Raises the errors of `Pare.check`.
    """
    check = getattr(client, "check", None)
    if check is not None:
        check(*{repr(sorted(query.items())): query for query in queries}.values())


def require_same(ranks: Ranks, facts: Mapping[str, object]) -> None:
    """Raise a ValueError on every rank if the facts of a rank differ. It names the rank and the facts."""
    first, *others = ranks.collect({name: str(value)[:_MAX_LENGTH] for name, value in facts.items()})
    for rank, other in enumerate(others, 1):
        changes = [
            f"{name} is {other.get(name, 'absent')} and on rank 0 {first.get(name, 'absent')}"
            for name in dict.fromkeys([*first, *other])
            if first.get(name) != other.get(name)
        ]
        if changes:
            more = f"; and {len(changes) - _LISTED} more" if len(changes) > _LISTED else ""
            raise ValueError(
                f"rank {rank} of {ranks.count} prunes another model or has other arguments than rank 0: "
                f"{'; '.join(changes[:_LISTED])}{more}"
            )


def parameter_facts(query: Mapping[str, Any], layers: Sequence[str]) -> dict[str, object]:
    """Return the parameters of a run and its layers, for `require_same`."""
    checksum = zlib.crc32("\n".join(layers).encode())
    return {**query, "the choice of layers": f"{len(layers)} layers with the checksum {checksum:08x}"}


def weight_facts(model: nn.Module) -> dict[str, str]:
    """Return the dtype, the shape and a checksum of each tensor of a model, for `require_same`.

    Shards and parameters on the meta device have no checksum.
    """
    return {
        name: f"{values.dtype} {tuple(values.shape)}"
        + ("" if values.is_meta or is_shard(values) else f" with the checksum {checksum(values):08x}")
        for name, values in model.state_dict(keep_vars=True).items()
        if isinstance(values, Tensor)
    }
