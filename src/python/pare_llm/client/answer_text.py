"""Reads the texts and the JSON of servers, which may be malformed."""

import json
from collections.abc import Iterable
from typing import Any

# A refusal of a host quotes at most 20 items of 200 characters.
_MAX_LENGTH = 5000


def printable(text: str, max_length: int = _MAX_LENGTH) -> str:
    """Escape the control characters of a text, and cut it if it is too long.

    Without this, a server could move the cursor of a terminal or forge lines of a log.
    """
    start = text[: max_length + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    return escaped if len(escaped) <= max_length else f"{escaped[: max_length - 1]}…"


def parse_answer(body: bytearray, path: str, expected: str, members: Iterable[str]) -> dict[str, Any]:
    """Parse `body` as a JSON object.

    Args:
        body: the body of the answer.
        path: the path of the request, which the error names.
        expected: a description of the right answer, such as "a job".
        members: the members that the object must have.

    Raises:
        ValueError: if `body` is not a JSON object with these members.
    """
    try:
        answer: Any = json.loads(body)
    except ValueError as error:
        raise ValueError(f"answer of {path}: is not {expected}") from error
    if not isinstance(answer, dict) or any(name not in answer for name in members):
        raise ValueError(f"answer of {path}: is not {expected}")
    return answer
