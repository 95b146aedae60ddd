"""The built-in errors that stand for the errors of urllib3 and of the operating system."""

from __future__ import annotations

import socket
import ssl
from http.client import BadStatusLine

from pare_llm.client.answers import printable
from pare_llm.client.http.proxy import Proxy

# The TLS errors of a connection that broke. All others repeat in each attempt.
_BROKEN_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class PermanentConnectionError(ConnectionError):
    """A connection that would fail again, such as one to an unknown name or without a trusted certificate."""


def connection_error(origin: str, proxy: Proxy | None, error: BaseException) -> ConnectionError:
    """Convert an error of a request to `origin`. The message has no credentials and no control characters."""
    cause = root_cause(error)
    route = origin if proxy is None else f"{origin} through the proxy {proxy.url}"
    kind = PermanentConnectionError if _is_permanent(cause) else ConnectionError
    text = str(cause) or type(cause).__name__
    if isinstance(cause, BadStatusLine) and not isinstance(cause, ConnectionError):
        text = f"does not answer with HTTP, but with {text.strip()}"
    return kind(printable(f"{route}: {text}", 500))


def root_cause(error: BaseException) -> BaseException:
    """Return the innermost error. urllib3 wraps an error as the cause or as an argument of another one."""
    inner = error.__cause__ or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    return error if inner is None else root_cause(inner)


def _is_permanent(cause: BaseException) -> bool:
    if isinstance(cause, socket.gaierror):
        return cause.errno != socket.EAI_AGAIN  # this code means that no name server has answered
    if isinstance(cause, ssl.SSLError):
        return not isinstance(cause, _BROKEN_TLS)
    return isinstance(cause, ValueError)  # such as a name that cannot be a host
