"""Parses the JSON answers of servers."""

import json
from collections.abc import Iterable
from typing import Any


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
