"""The errors of requests that a server refuses. Others raise `ConnectionError` or `TimeoutError`."""

import json
import re
import sys
import warnings
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from pare_llm.client.answers import printable

# The statuses after which the same request may succeed later. Cloudflare sends 520 to 530.
_TRANSIENT_STATUSES = frozenset({408, 429, 502, 503, 504, *range(520, 531)})

# The error codes of the HTTP contract, by their HTTP status.
_CODES = {
    400: ("malformed_safetensors", "truncated_body", "invalid_parameter", "invalid_host"),
    401: ("unauthorized",),
    403: ("forbidden",),
    404: ("hessian_not_found", "states_not_found", "not_found"),
    405: ("method_not_allowed",),
    408: ("too_slow",),
    409: ("digest_mismatch", "idempotency_conflict"),
    411: ("length_required",),
    413: ("too_large",),
    415: ("unsupported_media_type",),
    422: ("shape_mismatch", "non_finite", "not_symmetric", "not_positive_definite", "unsupported"),
    429: ("busy",),
    500: ("internal",),
    502: ("blob_unavailable",),
    503: ("hub_unreachable", "no_device", "device_lost", "shutting_down"),
}
STATUSES: Mapping[str, int] = {code: status for status, codes in _CODES.items() for code in codes}

# The most characters of a code, of an id, and of a body that is not problem+json.
_MAX_QUOTED_LENGTH = 200


class PareError(Exception):
    """The server answered a request with an error status.

    Attributes:
        code: the error code of the answer, such as `not_positive_definite`. It is `unknown` if the body was
            not problem+json, which happens if a proxy sent the answer.
        status: the HTTP status.
        detail: the server's description of the problem.
        request_id: identifies the request in the server's log.
        retry_after: seconds until the server wants the next attempt, if its answer had a Retry-After header.
        uploads: the URL where an edge accepts larger bodies. Set only if the code is `too_large` and the
            server is an edge, which is Pare's Cloudflare Worker in front of hosts.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        request_id: str | None = None,
        retry_after: float | None = None,
        uploads: str | None = None,
    ) -> None:
        code, detail = printable(code, _MAX_QUOTED_LENGTH), printable(detail)
        request_id = None if request_id is None else printable(request_id, _MAX_QUOTED_LENGTH)
        # All arguments become `args`, so that the error can be pickled and sent to another process.
        super().__init__(code, status, detail, request_id, retry_after, uploads)
        self.code = code
        self.status = status
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after
        self.uploads = uploads

    def __str__(self) -> str:
        return f"{self.code} ({self.status}): {self.detail}"

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later: for 408, 429, 502 to 504 and 520 to 530."""
        return self.status in _TRANSIENT_STATUSES


class BusyError(PareError):
    """The queue of the server is full (`busy`). The client has already repeated the request."""


class HessianNotFoundError(PareError):
    """The host does not store the statistics that the request names (`hessian_not_found`)."""


class NotPositiveDefiniteError(PareError):
    """The Hessian is not positive definite even with the largest damping (`not_positive_definite`)."""


_CLASSES: Mapping[str, type[PareError]] = {
    "busy": BusyError,
    "hessian_not_found": HessianNotFoundError,
    "not_positive_definite": NotPositiveDefiniteError,
}


def error_class(code: str) -> type[PareError]:
    """Return the subclass of `PareError` that belongs to `code`, or `PareError` if it has none."""
    return _CLASSES.get(code, PareError)


def error_from_answer(
    status: int, reason: str, headers: Mapping[str, str], body: bytes | bytearray
) -> PareError:
    """Convert an answer with an error status. `reason` follows the status, and `body` may be cut."""
    text = body.decode("utf-8", "replace")
    problem = _parse_problem(headers.get("Content-Type"), text)
    if problem is None:
        problem = {"detail": _redirection(status, headers) or text.strip()[:_MAX_QUOTED_LENGTH] or reason}
    code = problem.get("code") or "unknown"
    return error_class(code)(
        code,
        status,
        problem.get("detail") or problem.get("title") or "no detail given",
        problem.get("request_id") or headers.get("X-Request-Id"),
        parse_retry_after(headers.get("Retry-After")),
        problem.get("uploads"),
    )


def _redirection(status: int, headers: Mapping[str, str]) -> str | None:
    """Describe a redirection. It is not followed, because the request has the key and a layer."""
    if not 300 <= status < 400:
        return None
    location = printable(headers.get("Location") or "an unknown URL", _MAX_QUOTED_LENGTH)
    return f"the server redirects to {location}, which is not followed; use the URL to which it leads"


def _parse_problem(content_type: str | None, text: str) -> dict[str, str] | None:
    """Return the texts of a problem, or None if the body is not a JSON object, as from some proxies."""
    if content_type is None or "json" not in content_type:
        return None
    try:
        body: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    return {name: value for name, value in body.items() if isinstance(value, str)}


def parse_retry_after(header: str | None) -> float | None:
    """Convert a Retry-After header to seconds. It holds seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    if re.fullmatch(r"[0-9]+", header):
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


def add_note(error: BaseException, note: str) -> None:
    """Add a line to what Python prints of an error. Python 3.10 has no notes, so the line is a warning."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        warnings.warn(note, stacklevel=2)
