"""The client that solves the layers of a run."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from pare_llm.arguments import require
from pare_llm.client.pare import Pare
from pare_llm.client.pare_hosts import PareHosts

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pare_llm.client.layer import LayerArguments, PrunedLayer


class LayerClient(Protocol):
    """The methods of `Pare` and `PareHosts` that a run uses. Several threads call them at the same time."""

    def prune_layer(self, weight: Tensor, **layer: Unpack[LayerArguments]) -> PrunedLayer[Tensor]:
        """Prune one layer."""

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Store statistics and return their digest."""

    def delete_hessian(self, digest: str) -> None:
        """Delete stored statistics."""


def combine_clients(client: LayerClient | Sequence[Pare]) -> LayerClient:
    """Return one client for a host, or for all hosts of a list. Raise a ValueError if the list is empty."""
    if isinstance(client, Pare):
        return PareHosts([client])
    if isinstance(client, str) or not isinstance(client, Sequence):
        if not callable(getattr(client, "prune_layer", None)):
            kind = type(client).__name__
            raise TypeError(f"client: must be a Pare, a PareHosts or a list of Pare, got {kind}")
        return client
    for index, one in enumerate(client):
        require(f"client[{index}]", one, Pare, "a Pare")
    return PareHosts(client)


def host_count(client: LayerClient) -> int:
    """Return how many layers `client` solves at the same time: its length, or 1 if it has none."""
    return len(client) if isinstance(client, Sized) else 1
