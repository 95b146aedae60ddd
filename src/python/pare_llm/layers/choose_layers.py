"""Chooses layers of a model by patterns, which have the same syntax as the options of `pare prune`."""

import re
from collections.abc import Iterable


def choose_layers(names: Iterable[str], patterns: Iterable[str] | str, option: str = "layers") -> list[str]:
    """Return the names that match at least one of the patterns, in their own order.

    A pattern that is the whole name of a layer means this layer only. Otherwise there are three forms:

    - plain text matches the end of a name in whole parts, such as `fc2` or `self_attn.q_proj`;
    - with wildcards, `*` stands for any characters and `?` for one character;
    - `/…/` is a regular expression.

    Raises:
        ValueError: a pattern is malformed or matches no layer. The message names `option`.
    """
    names = list(names)
    patterns = [patterns] if isinstance(patterns, str) else patterns
    matches: set[str] = set()
    for pattern in patterns:
        is_name = pattern in names
        found = {pattern} if is_name else {name for name in names if _matches(pattern, name, option)}
        if not found:
            example = f"an example of a layer is {names[0]!r}" if names else "the model has no linear layer"
            raise ValueError(f"{option}: {pattern!r} matches no layer; {example}")
        matches |= found
    return [name for name in names if name in matches]


def _matches(pattern: str, name: str, option: str) -> bool:
    """Tell whether the name of a layer, or of its weight, matches a pattern."""
    if pattern == "":
        raise ValueError(f"{option}: a pattern is empty")
    weight = f"{name}.weight"
    if len(pattern) > 2 and pattern.startswith("/") and pattern.endswith("/"):
        try:
            return re.search(pattern[1:-1], weight) is not None
        except re.error as error:
            raise ValueError(f"{option}: {pattern!r} is not a regular expression: {error}") from error
    body = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    start = "" if "*" in pattern or "?" in pattern else r"(.*\.)?"
    return any(re.fullmatch(start + body, text) for text in (weight, name))
