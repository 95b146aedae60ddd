"""Reads the texts and the JSON of servers, which may be malformed."""

import json
from collections.abc import Iterable
from typing import Any

# A refusal of a host quotes at most 20 items of 200 characters.
_MAX_LENGTH = 5000


def printable(text: str, max_length: int = _MAX_LENGTH) -> str:
    """Escape control characters, which could forge lines of a log, and cut a text that is too long."""
    start = text[: max_length + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    return escaped if len(escaped) <= max_length else f"{escaped[: max_length - 1]}…"


def parse_answer(body: bytearray, path: str, expected: str, members: Iterable[str]) -> dict[str, Any]:
    """Parse a JSON object with these members. The ValueError names `path`, and what is `expected`."""
    try:
        answer: Any = json.loads(body)
    except ValueError as error:
        raise ValueError(f"answer of {path}: is not {expected}") from error
    if not isinstance(answer, dict) or any(name not in answer for name in members):
        raise ValueError(f"answer of {path}: is not {expected}")
    return answer
