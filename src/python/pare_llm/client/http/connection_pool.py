"""HTTP connections that stay open between requests, and the exchange of one request and its answer.

urllib3 opens the connections and speaks HTTP. A body is sent from the buffers in which it lies, and an answer
is read into one buffer of its length. Redirects are not followed.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError

from pare_llm.client.http.connection_error import connection_error, root_cause
from pare_llm.client.http.proxy import Proxy, find_proxy
from pare_llm.client.http.read_body import read_body, read_start
from pare_llm.client.http.retry import Deadline
from pare_llm.client.http.watched_connection import SecureWatchedConnection, Watch, WatchedConnection

# The number of idle connections to one server that stay open. Others are closed after their request.
_MAX_IDLE = 64

# The longest JSON answer. A job has at most 4096 layers of a few KiB each.
_MAX_MESSAGE_BYTES = 2**26

# The longest part of a refusal that is read, in bytes. The texts of a refusal have a few thousand.
_MAX_REFUSAL_BYTES = 2**16

# A peer that has vanished is noticed after 60 + 4·15 seconds, also while a host solves a layer for many
# minutes. macOS and Windows lack some of these options.
_SOCKET_OPTIONS = [
    *WatchedConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)
    ),
]

# The parts of a body, in order. Each part is a one-dimensional buffer of bytes.
Body = Sequence[bytes | memoryview]


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    url: SplitResult
    headers: Mapping[str, str]
    body: Body | None = None
    max_answer_bytes: int = _MAX_MESSAGE_BYTES
    """The length of the longest body that can be a right answer."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request. The body of a refusal may be cut."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """The headers. Names are looked up without regard to case."""
    body: bytearray


class _Pool(HTTPConnectionPool):
    ConnectionCls = WatchedConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = SecureWatchedConnection


class ConnectionPool:
    """Keeps connections open. Several threads may use it, and each request has a connection of its own.

    A pool can be pickled. The copy has the same options and opens connections of its own.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        # The process is a part of the key, because a forked process must not use the connections of its
        # parent.
        self._managers: dict[tuple[int, str, Proxy | None], PoolManager] = {}

    def __reduce__(self) -> tuple[type[ConnectionPool], tuple[ssl.SSLContext | None]]:
        return ConnectionPool, (self._ssl_context,)

    def exchange(self, request: Request, deadline: Deadline) -> Answer:
        """Send `request` and read the whole answer, whatever its status.

        Raises a ConnectionError, a TimeoutError, or a ValueError if the answer is longer than a right answer.
        """
        origin = f"{request.url.scheme}://{request.url.netloc.rpartition('@')[2]}"
        proxy = find_proxy(request.url)
        manager = self._manager(origin, proxy)
        with Watch(deadline) as watch:
            while True:
                try:
                    answer = _exchange(manager, origin, request, deadline)
                except (HTTPError, HTTPException, OSError) as error:
                    if deadline.is_over:
                        raise deadline.error() from error
                    # The server may have closed a connection while it was idle. The request is sent again at
                    # once, on another connection.
                    if not (watch.is_reused and isinstance(root_cause(error), ConnectionError)):
                        raise connection_error(origin, proxy, error) from error
                else:
                    if watch.has_cut:
                        raise deadline.error()
                    return answer

    def close(self) -> None:
        """Close the connections that no request uses. The pool opens new ones when it is used again."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

    def _manager(self, origin: str, proxy: Proxy | None) -> PoolManager:
        key = (os.getpid(), origin, proxy)
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._make_manager(proxy)
            return self._managers[key]

    def _make_manager(self, proxy: Proxy | None) -> PoolManager:
        options: dict[str, Any] = {
            "maxsize": _MAX_IDLE,
            "socket_options": _SOCKET_OPTIONS,
            "ssl_context": self._ssl_context,
        }
        manager = (
            PoolManager(**options)
            if proxy is None
            else ProxyManager(
                proxy.url, proxy_headers=proxy.headers(), proxy_ssl_context=self._ssl_context, **options
            )
        )
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager


def _exchange(manager: PoolManager, origin: str, request: Request, deadline: Deadline) -> Answer:
    url = request.url
    response = manager.urlopen(
        request.method,
        f"{origin}{url.path or '/'}{'?' if url.query else ''}{url.query}",
        body=request.body,
        headers=dict(request.headers),
        timeout=Timeout(total=deadline.remaining()),
        redirect=False,
        retries=False,
        preload_content=False,
        decode_content=False,
        # `read_body` checks the length itself.
        enforce_content_length=False,
    )
    try:
        if 200 <= response.status < 300:
            body = read_body(response, url.path, request.max_answer_bytes)
        else:
            body = read_start(response, _MAX_REFUSAL_BYTES)
    except BaseException:
        response.close()
        raise
    return Answer(response.status, response.reason or "", response.headers, body)
