"""A TCP server whose connections a test handles byte by byte, for servers that break the rules of HTTP."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

Handler = Callable[[socket.socket], None]

# The description of a host, as the body of an answer and as a whole answer.
READY = b'{"backend":"cpu","adapter":{"name":"fake"}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(READY), READY)


class RawServer:
    """Calls `handle` with each connection, in a thread of its own."""

    def __init__(self, handle: Handler, tls: ssl.SSLContext | None = None) -> None:
        """Start the server. With `tls`, a connection begins with a handshake."""
        self._handle = handle
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop the server, so that its port refuses connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the thread that accepts connections
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        try:
            with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as open_one:
                self._handle(open_one)
        except OSError:
            pass  # the client has ended the connection


def read_head(connection: socket.socket) -> bytes:
    """Read the headers of a request, and the bytes of its body that have arrived with them."""
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(65536)
        if not received:
            break
        head += received
    return head


def read_request(connection: socket.socket) -> bytes:
    """Read a request with its body."""
    request = read_head(connection)
    head, _, body = request.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
