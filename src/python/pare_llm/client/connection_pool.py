"""HTTP connections that stay open between requests, and the exchange of one request and its answer.

A body is sent from the buffers in which it lies, and an answer is read into one buffer of its length. A
tensor is therefore copied by the operating system only.
"""

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult

from pare_llm.client.deadline import Deadline

# Bytes that are read before the deadline is checked again.
_READ_BYTES = 2**20

# A peer that has vanished is noticed after 60 + 4·15 seconds, also while a host solves a layer for many
# minutes.
_KEEPALIVE_OPTIONS = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))

# The parts of a body, in order. Each part is a one-dimensional buffer of bytes.
Body = Sequence[bytes | memoryview]


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    url: SplitResult
    headers: Mapping[str, str]
    body: Body = ()


@dataclass(frozen=True)
class Answer:
    """The whole answer to a request."""

    status: int
    reason: str
    headers: HTTPMessage
    body: bytearray


class ConnectionPool:
    """Keeps connections open. Several threads may use it, and each request has a connection of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The process is a part of the key, because a forked process must not use the connections of its
        # parent.
        self._idle: dict[tuple[int, str, str], list[HTTPConnection]] = {}

    def exchange(self, request: Request, deadline: Deadline) -> Answer:
        """Send `request` and read the whole answer, whatever its status.

        Raises:
            OSError, http.client.HTTPException: if the connection fails or breaks.
            TimeoutError: if the deadline passes.
        """
        key = (os.getpid(), request.url.scheme, request.url.netloc)
        connection, response, is_whole = self._begin(key, request, deadline)
        try:
            body = _read_body(response, connection.sock, deadline)
            # The connection can carry the next request only after its response is closed.
            response.close()
        except BaseException:
            connection.close()
            raise
        if response.will_close or not is_whole:
            connection.close()
        else:
            with self._lock:
                self._idle.setdefault(key, []).append(connection)
        return Answer(response.status, response.reason, response.headers, body)

    def close(self) -> None:
        """Close the connections that no request uses. The pool opens new ones when it is used again."""
        with self._lock:
            connections = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _begin(
        self, key: tuple[int, str, str], request: Request, deadline: Deadline
    ) -> tuple[HTTPConnection, HTTPResponse, bool]:
        """Send `request` on an idle connection or on a new one, and read the headers of the answer.

        The server may have closed an idle connection. A request that fails on it is therefore sent again at
        once, on a new connection.
        """
        with self._lock:
            idle = self._idle.get(key)
            connection = idle.pop() if idle else None
        if connection is not None:
            with suppress(ConnectionError):
                return connection, *_send(connection, request, deadline)
        connection = _open(request.url, deadline)
        return connection, *_send(connection, request, deadline)


def _open(url: SplitResult, deadline: Deadline) -> HTTPConnection:
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=deadline.remaining())
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_OPTIONS:
        # macOS and Windows lack some of these options.
        if hasattr(socket, name):
            connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _send(connection: HTTPConnection, request: Request, deadline: Deadline) -> tuple[HTTPResponse, bool]:
    """Send `request` and read the headers of its answer. Also return whether the body was sent whole."""
    try:
        connection.sock.settimeout(deadline.remaining())
        url = request.url
        connection.putrequest(
            request.method, f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        )
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        is_whole = True
        try:
            for part in request.body:
                connection.sock.settimeout(deadline.remaining())
                connection.send(part)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a request because of its headers may close the connection before it has
            # read the body. Its answer has arrived nevertheless.
            is_whole = False
        connection.sock.settimeout(deadline.remaining())
        return connection.getresponse(), is_whole
    except BaseException:
        connection.close()
        raise


def _read_body(response: HTTPResponse, sock: socket.socket | None, deadline: Deadline) -> bytearray:
    """Read the body of an answer. If the answer declares its length, the buffer is allocated once.

    Raises:
        ConnectionResetError: if the body is shorter than its Content-Length.
    """
    length = response.length
    if length is None:
        return bytearray(response.read())
    body = bytearray(length)
    view, filled = memoryview(body), 0
    while filled < length:
        if sock is not None:
            sock.settimeout(deadline.remaining())
        count = response.readinto(view[filled : filled + _READ_BYTES])
        if count == 0:
            raise ConnectionResetError(f"the answer ended after {filled} of {length} bytes")
        filled += count
    return body
