"""Sends HTTP requests to one server, with the API key, and repeats them after transient failures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from pare_llm import __version__
from pare_llm.arguments import require, require_function, require_integer, require_number
from pare_llm.client.answers import printable
from pare_llm.client.errors import PareError, error_from_answer
from pare_llm.client.http.connection_pool import Answer, Body, ConnectionPool, Request
from pare_llm.client.http.retry import Deadline, with_retries

if TYPE_CHECKING:
    import ssl

_MAX_BACKOFF_MS = 30_000

# The most answers with status 303 that are followed. Modal sends one every 150 seconds, so a request may take
# an hour.
_MAX_FOLLOWED = 24

# The longest Retry-After that is waited for. If a server asks for more, its error is raised at once.
_MAX_RETRY_AFTER_SECONDS = 300


@dataclass(frozen=True)
class TransportOptions:
    """How to reach a server.

    Attributes:
        base_url: the URL of the server, such as `http://127.0.0.1:8000`. It may have a path, to which `/v1/…`
            is appended. The default is the environment variable PARE_SERVER.
        api_key: the API key. It is sent as `Authorization: Bearer …`. The default is the environment variable
            PARE_API_KEY.
        retries: number of attempts after the first one, if a request fails transiently.
        backoff_ms: first pause between attempts in milliseconds. The pause doubles with each attempt. If the
            server sent a Retry-After header, the pause is at least that long.
        timeout: seconds that one call may take, including its retries. None means no limit, because a large
            layer may be solved for many minutes. A host that has vanished is noticed without a timeout.
        on_retry: called after each failure that is followed by another attempt, with the error and with the
            milliseconds until that attempt.
        on_job: called after each submission of a job, with its id and the number of its layers. A job may be
            submitted more than once.
        ssl_context: the certificates to trust for https, and a certificate of the client. By default the
            certificates of the system, or of the environment variable SSL_CERT_FILE. Options with a context
            cannot be pickled.
    """

    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    retries: int = 5
    backoff_ms: float = 500
    timeout: float | None = None
    on_retry: Callable[[PareError | ConnectionError, float], None] | None = None
    on_job: Callable[[str, int], None] | None = None
    ssl_context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url or os.environ.get("PARE_SERVER", ""))
        object.__setattr__(self, "api_key", self.api_key or os.environ.get("PARE_API_KEY") or None)
        require("base_url", self.base_url, str, "a string", is_secret=True)
        require("api_key", self.api_key, (str, NoneType), "a string or None", is_secret=True)
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("api_key: must consist of printable ASCII characters, without a line break")
        require_integer("retries", self.retries, 0)
        require_number("backoff_ms", self.backoff_ms)
        if not self.backoff_ms >= 0:
            raise ValueError(f"backoff_ms: must be at least 0, got {self.backoff_ms}")
        if self.timeout is not None:
            require_number("timeout", self.timeout, "a number or None")
            if not self.timeout > 0:
                raise ValueError(f"timeout: must be positive or None, got {self.timeout}")
        require_function("on_retry", self.on_retry)
        require_function("on_job", self.on_job)
        if self.ssl_context is not None:
            import ssl

            require("ssl_context", self.ssl_context, ssl.SSLContext, "an ssl.SSLContext or None")


class Transport:
    """Sends requests to one server. Raises a ValueError if the base URL is not an http or https URL."""

    def __init__(
        self,
        options: TransportOptions,
        *,
        pool: ConnectionPool | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        require("options", options, TransportOptions, "TransportOptions", is_secret=True)
        self.options = options
        self._base_url = _parse_base_url(options.base_url)
        self._pool = pool or ConnectionPool(options.ssl_context)
        self._deadline = deadline

    def with_deadline(self) -> Transport:
        """Return a transport over the same connections whose requests share one timeout, which starts now."""
        return Transport(self.options, pool=self._pool, deadline=self.start_deadline())

    def start_deadline(self) -> Deadline:
        """Return the deadline of a request that starts now."""
        return self._deadline or Deadline(self.options.timeout)

    def pause(self, seconds: float) -> None:
        """Wait between two requests. Raise a TimeoutError if their timeout would pass during the pause."""
        (self._deadline or Deadline(None)).sleep(seconds)

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        max_answer_bytes: int | None = None,
    ) -> bytearray:
        """Send a request and return the body of the answer. The request may be sent several times.

        `body` has the parts of a safetensors file, unless `headers` has another Content-Type. The answer may
        have `max_answer_bytes`, or the length of the longest JSON answer.

        Raises:
            PareError: if the server refuses the request, also in the last attempt.
            ConnectionError: if no attempt received a whole answer, or if the failure would repeat.
            TimeoutError: if the timeout passes.
            ValueError: if the answer is too long.
        """
        request = self._make_request(method, path, query, body, headers or {})
        if max_answer_bytes is not None:
            request = replace(request, max_answer_bytes=max_answer_bytes)
        deadline = self.start_deadline()
        return with_retries(
            lambda: self.exchange(request, deadline).body,
            retries=self.options.retries,
            backoff_ms=self.options.backoff_ms,
            max_backoff_ms=_MAX_BACKOFF_MS,
            deadline=deadline,
            is_transient=_is_transient,
            before_pause=self._before_pause,
        )

    def exchange(self, request: Request, deadline: Deadline) -> Answer:
        """Send `request` once, as `ConnectionPool.exchange`. Raise a PareError unless the status is 2xx.

        A platform such as Modal answers a long request with status 303 and the URL of the result, which is
        then fetched.
        """
        answer = self._pool.exchange(request, deadline)
        for _ in range(_MAX_FOLLOWED):
            result = _request_for_result(request, answer)
            if result is None:
                break
            answer = self._pool.exchange(result, deadline)
        if not 200 <= answer.status < 300:
            raise error_from_answer(answer.status, answer.reason, answer.headers, answer.body)
        return answer

    def close(self) -> None:
        """Close the connections that no request uses."""
        self._pool.close()

    def _make_request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Body | None,
        extra_headers: Mapping[str, str],
    ) -> Request:
        headers = {"User-Agent": f"pare-llm/{__version__}"}
        if self.options.api_key:
            headers["Authorization"] = f"Bearer {self.options.api_key}"
        if body is not None:
            headers["Content-Type"] = "application/vnd.safetensors"
            headers["Content-Length"] = str(sum(len(part) for part in body))
        url = self._base_url._replace(path=self._base_url.path + path, query=urlencode(query or {}))
        return Request(method, url, {**headers, **extra_headers}, body)

    def _before_pause(self, error: PareError | ConnectionError, backoff_ms: float) -> float:
        wait_ms = max(backoff_ms, 1000 * _retry_after(error))
        if self.options.on_retry is not None:
            self.options.on_retry(error, wait_ms)
        return wait_ms


def _parse_base_url(text: str) -> SplitResult:
    """Return the base URL without a slash at the end of its path."""
    if "@" in text:  # no part of the URL is quoted, because it may be a password
        raise ValueError("server URL: must not contain @, a user name or a password; give the key as api_key")
    try:
        url = urlsplit(text)
        is_valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # such as a port above 65535
        is_valid = False
    if not is_valid:
        raise ValueError(
            f'server URL "{printable(text)}": must be an http or https URL, such as http://127.0.0.1:8000, '
            "in base_url or PARE_SERVER"
        )
    return url._replace(path=url.path.rstrip("/"), query="", fragment="")


def _request_for_result(request: Request, answer: Answer) -> Request | None:
    """Return the request for the result that a 303 names, or None for any other answer.

    The result may be at another URL of the same origin only, because the request for it has the API key.
    """
    location = answer.headers.get("Location")
    if answer.status != 303 or not location:
        return None
    try:
        url = urlsplit(urljoin(request.url.geturl(), location))
        if _origin(url) != _origin(request.url):
            return None
    except ValueError:  # a malformed URL
        return None
    headers = {name: value for name, value in request.headers.items() if not name.startswith("Content-")}
    return Request("GET", url, headers, None, request.max_answer_bytes)


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    """Return the scheme, the name in lower case and the port. Raise a ValueError if the port is malformed."""
    return url.scheme, url.hostname, url.port or (443 if url.scheme == "https" else 80)


def _is_transient(error: PareError | ConnectionError) -> bool:
    """Whether the same request may succeed later, and the server asks for no longer pause than the limit."""
    if isinstance(error, ConnectionError):
        return True
    return error.is_transient and _retry_after(error) <= _MAX_RETRY_AFTER_SECONDS


def _retry_after(error: PareError | ConnectionError) -> float:
    """Return the seconds that the server asked to wait, or 0."""
    return (error.retry_after or 0.0) if isinstance(error, PareError) else 0.0
