"""The part that all clients of one server share: their options and their connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pare_llm.client.errors import PareError
from pare_llm.client.transport import Transport, TransportOptions

if TYPE_CHECKING:
    import ssl

Client = TypeVar("Client", bound="ServerClient")


class ServerClient:
    """A client of one server. It keeps connections open, and may be used by several threads.

    A client can be pickled, for example for a process that is spawned. The copy has the same options and
    opens connections of its own.

    Use it in a `with` statement, or call `close`, to close the connections. `TransportOptions` describes the
    arguments.

    Raises:
        ValueError: if `base_url` is not an http or https URL.
    """

    def __init__(
        self,
        base_url: str = "",
        api_key: str | None = None,
        *,
        retries: int = 5,
        backoff_ms: float = 500,
        timeout: float | None = None,
        on_retry: Callable[[PareError | ConnectionError, float], None] | None = None,
        on_job: Callable[[str, int], None] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._transport = Transport(
            TransportOptions(base_url, api_key, retries, backoff_ms, timeout, on_retry, on_job, ssl_context)
        )

    @classmethod
    def from_options(cls: type[Client], options: TransportOptions) -> Client:
        """Return a client of the server that `options` describe."""
        return cls._over(Transport(options))

    @classmethod
    def _over(cls: type[Client], transport: Transport) -> Client:
        """Return a client that sends its requests with `transport`."""
        options = transport.options
        client = cls(options.base_url, options.api_key)
        client._transport = transport
        return client

    def close(self) -> None:
        """Close the connections that no request uses. The client opens new ones when it is used again."""
        self._transport.close()

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.options.base_url!r})"
