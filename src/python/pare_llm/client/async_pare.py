"""The client of one Pare server for programs that use asyncio."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from pare_llm.client.layer import PrunedLayer
from pare_llm.client.pare import HostDescription, Pare
from pare_llm.client.server_client import ServerClient
from pare_llm.client.wire_tensor import Array, Tensor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pare_llm.client.layer import LayerArguments
    from pare_llm.client.layer_query import LayerQuery


class AsyncPare(ServerClient):
    """A client of one Pare host or edge, with the methods of `Pare` as coroutines.

    Each call runs in a thread (`asyncio.to_thread`), so the number of requests at the same time is bounded by
    the default executor of the event loop. If a call is cancelled, its thread still waits for the answer.
    `TransportOptions` describes the arguments.

    Raises:
        ValueError: if `base_url` is not an http or https URL.
    """

    @cached_property
    def _pare(self) -> Pare:
        return Pare._over(self._transport)

    async def prune_layer(self, weight: Array, **layer: Unpack[LayerArguments]) -> PrunedLayer[Array]:
        """Prune one layer, as `Pare.prune_layer`. The tensors must not change before the call has ended."""
        pare = self._pare
        return await asyncio.to_thread(lambda: pare.prune_layer(weight, **layer))

    async def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Store calibration statistics that several layers share, as `Pare.put_hessian`."""
        return await asyncio.to_thread(self._pare.put_hessian, hessian_upper, validation_hessian_upper)

    async def delete_hessian(self, digest: str) -> None:
        """Delete stored statistics, as `Pare.delete_hessian`."""
        await asyncio.to_thread(self._pare.delete_hessian, digest)

    async def check_key(self) -> None:
        """Check that the server accepts the API key, as `Pare.check_key`."""
        await asyncio.to_thread(self._pare.check_key)

    async def check(self, *queries: LayerQuery) -> None:
        """Check that the server is ready, and the key and the parameters of layers, as `Pare.check`."""
        await asyncio.to_thread(self._pare.check, *queries)

    async def describe_host(self) -> HostDescription:
        """Ask the host for the device on which it solves layers, as `Pare.describe_host`."""
        return await asyncio.to_thread(self._pare.describe_host)

    async def __aenter__(self) -> AsyncPare:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
