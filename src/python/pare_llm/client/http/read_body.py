"""Reads the body of an answer, whose length is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# The number of bytes that are read at a time. urllib3 returns them in a buffer of its own, which is copied.
_READ_BYTES = 2**20


def read_body(response: BaseHTTPResponse, path: str, max_bytes: int) -> bytearray:
    """Read the whole body, into one buffer if its length is declared. `path` is for errors.

    Raises a ValueError if the body has more than `max_bytes` or does not fit into memory, and a
    ConnectionResetError if it is shorter than its Content-Length.
    """
    length = response.length_remaining
    if length is None:
        return _read_until_end(response, path, max_bytes)
    if length > max_bytes:
        raise ValueError(f"answer of {path}: has {length} bytes, but a right answer has at most {max_bytes}")
    try:
        body = bytearray(length)
    except MemoryError as error:
        raise ValueError(f"answer of {path}: has {length} bytes, which do not fit into memory") from error
    view, filled = memoryview(body), 0
    while filled < length:
        count = response.readinto(view[filled : filled + _READ_BYTES])
        if count == 0:
            raise ConnectionResetError(f"the answer ended after {filled} of {length} bytes")
        filled += count
    if length == 0:
        response.drain_conn()  # urllib3 uses a connection again only after a body was read to its end
    return body


def read_start(response: BaseHTTPResponse, max_bytes: int) -> bytearray:
    """Read at most `max_bytes` of the body. If it is longer, the connection is closed."""
    body = bytearray(response.read(max_bytes))
    if not response.closed:
        response.drain_conn() if response.length_remaining == 0 else response.close()
    return body


def _read_until_end(response: BaseHTTPResponse, path: str, max_bytes: int) -> bytearray:
    """Read a body that does not declare its length."""
    body = bytearray()
    for chunk in response.stream(_READ_BYTES):
        if len(body) + len(chunk) > max_bytes:
            raise ValueError(
                f"answer of {path}: has more than {max_bytes} bytes, which a right answer cannot have"
            )
        body += chunk
    return body
