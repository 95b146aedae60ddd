"""A client that prunes a layer further and keeps the zeros that the layer has."""

from typing import Any

from torch import Tensor


class MaskingClient:
    """Sends each layer together with the mask `weight != 0`, so that the solver leaves its zeros at zero.

    Without the mask, a solver such as ALPS may give a pruned entry a new value and prune another one.
    """

    def __init__(self, client: Any) -> None:
        """Send the layers with `client`, which is a `Pare`, a `PareHosts` or another client for `prune_`."""
        self._client = client

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
