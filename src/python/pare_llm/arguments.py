"""Checks the types of arguments. Python itself names neither the argument nor what it must be."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable
from numbers import Integral, Real


def require(
    name: str, value: object, kinds: type | tuple[type, ...], rule: str, *, is_secret: bool = False
) -> None:
    """Raise a TypeError that names the argument, the rule and the value unless `value` is one of `kinds`.

    A bool is not a number. Instead of a secret or a large value such as a tensor, the message has its type.
    """
    accepted = kinds if isinstance(kinds, tuple) else (kinds,)
    is_number = not isinstance(value, bool) or bool in accepted
    if not (is_number and isinstance(value, accepted)):
        raise TypeError(f"{name}: must be {rule}, got {_shown(value, is_secret)}")


def require_integer(name: str, value: object, least: int) -> None:
    """Raise a TypeError unless `value` is an integer, and a ValueError if it is less than `least`."""
    require(name, value, Integral, f"an integer that is at least {least}")
    if value < least:  # type: ignore[operator]
        raise ValueError(f"{name}: must be at least {least}, got {value}")


def require_number(name: str, value: object, rule: str = "a number") -> None:
    """Raise a TypeError unless `value` is a real number."""
    require(name, value, Real, rule)


def require_text(name: str, value: object, *, is_secret: bool = False) -> None:
    """Raise a TypeError unless `value` is a string."""
    require(name, value, str, "a string", is_secret=is_secret)


def require_function(name: str, value: object) -> None:
    """Raise a TypeError unless `value` can be called, or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: must be a function or None, got {_shown(value)}")


def require_texts(name: str, values: object) -> None:
    """Raise a TypeError unless `values` is a string, or strings that can be iterated."""
    require(name, values, (str, Iterable), "a string or a list of strings")
    for index, value in enumerate(values if isinstance(values, (list, tuple)) else ()):
        require_text(f"{name}[{index}]", value)


def to_json(name: str, value: object) -> str:
    """Return `value` as JSON, or raise a TypeError or a ValueError that names the argument."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:  # a ValueError says that a list contains itself
        raise type(error)(f"{name}: cannot be sent as JSON: {error}") from error


def _shown(value: object, is_secret: bool = False) -> str:
    kind = type(value).__name__
    if value is None:
        return "None"
    return f"{kind} {reprlib.repr(value)}" if isinstance(value, (str, int, float)) and not is_secret else kind
