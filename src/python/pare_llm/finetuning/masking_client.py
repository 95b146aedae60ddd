"""A client that prunes a layer further and keeps the zeros that the layer has."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pare_llm.client.pare import Pare
from pare_llm.client.pare_hosts import PareHosts
from pare_llm.pruning.layer_client import LayerClient, host_count


class MaskingClient:
    """Sends each layer together with the mask `weight != 0`, so that the solver leaves its zeros at zero.

    Without the mask, a solver such as ALPS may give a pruned entry a new value and prune another one.
    """

    def __init__(self, client: LayerClient | Sequence[Pare]) -> None:
        """Send the layers with `client`, which is any client for `prune_`."""
        clients = [client] if isinstance(client, Pare) else client
        if isinstance(clients, Sequence):
            # Unlike a `Pare`, `PareHosts` stores shared statistics again if a host has lost them.
            clients = PareHosts([one._transport.options for one in clients])
        self._client: Any = clients

    def __len__(self) -> int:
        """Return the number of layers that can be solved at the same time."""
        return host_count(self._client)

    def prune_layer(self, weight: Tensor, **arguments: Any) -> Any:
        """Prune one layer, [out, in]."""
        return self._client.prune_layer(weight, mask=weight != 0, **arguments)

    def put_hessian(self, hessian_upper: Tensor) -> str:
        """Store statistics and return their digest."""
        digest: str = self._client.put_hessian(hessian_upper)
        return digest

    def delete_hessian(self, digest: str) -> None:
        """Delete stored statistics."""
        self._client.delete_hessian(digest)
