"""Connections that are cut at a deadline. urllib3 restarts its timeouts for each piece that it reads."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from pare_llm.client.http.retry import Deadline

# The watch over the request that the thread is sending.
_current = threading.local()


class Watch:
    """Cuts the connection of this thread's request at the deadline, if it has one."""

    def __init__(self, deadline: Deadline) -> None:
        self.is_reused = False
        """Whether the request is on a connection that was idle, and has no answer yet."""
        self.has_cut = False
        """Whether the connection was cut. An answer of unknown length then looks whole."""
        self._deadline = deadline
        self._lock = threading.Lock()
        self._connection: WatchedConnection | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Watch:
        seconds = self._deadline.remaining()
        _current.watch = self
        if seconds is not None:
            self._timer = threading.Timer(seconds, self._cut)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        del _current.watch
        with self._lock:
            self._connection = None
        if self._timer is not None:
            self._timer.cancel()

    def attach(self, connection: WatchedConnection) -> None:
        """Watch this connection from now on. Raise a TimeoutError if the deadline has passed already."""
        with self._lock:
            self._connection = connection
            connection.watch = self
        self._deadline.remaining()

    def _cut(self) -> None:
        with self._lock:
            connection = self._connection
            # If urllib3 has given the connection to another request in the meantime, that request has its own
            # watch.
            if connection is None or connection.watch is not self:
                return
            open_socket = connection.sock or connection.answering_socket
            if open_socket is None:
                return
            self.has_cut = True
            # Shutting down the plain socket below TLS also ends a read through TLS in another thread.
            plain: socket.socket = getattr(open_socket, "socket", open_socket)
            with suppress(OSError):
                socket.socket.shutdown(plain, socket.SHUT_RDWR)


class WatchedConnection(HTTPConnection):
    """A connection that the watch of the sending thread can cut."""

    watch: Watch | None = None
    answering_socket: Any = None
    """The socket of the last answer. `sock` is None while an answer is read that ends the connection."""
    _has_answered = False

    def connect(self) -> None:
        """Connect, and speak to the proxy if there is one."""
        self._has_answered = False
        _current.watch.attach(self)
        super().connect()

    def request(self, *args: Any, **options: Any) -> None:
        _current.watch.attach(self)
        _current.watch.is_reused = self._has_answered
        super().request(*args, **options)

    def getresponse(self) -> Any:
        """Read the headers of the answer."""
        self.answering_socket = self.sock
        response = super().getresponse()
        self._has_answered = True
        _current.watch.is_reused = False
        return response


class SecureWatchedConnection(WatchedConnection, HTTPSConnection):
    """A connection with TLS that the watch of the sending thread can cut."""
