"""Patterns for the names of layers, with the same syntax as the options of `pare prune`."""

import re
from collections.abc import Callable


def compile_name_pattern(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern to a function that tests the name of a weight.

    A name matches if it matches with or without its `.weight`. There are three forms:

    - plain text matches the end of a name, such as `fc2` or `self_attn.q_proj`, in whole parts between dots;
    - with wildcards, `*` stands for any characters and `?` for one, and the whole name must match;
    - `/…/` is a regular expression, which may match anywhere in the name with its `.weight`.

    Raises ValueError if the pattern is empty or is a malformed regular expression.
    """
    if pattern == "":
        raise ValueError("layer pattern: is empty")
    if len(pattern) > 2 and pattern.startswith("/") and pattern.endswith("/"):
        try:
            search = re.compile(pattern[1:-1]).search
        except re.error as error:
            raise ValueError(f"layer pattern {pattern}: {error}") from error
        return lambda name: search(name) is not None
    body = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    has_wildcards = "*" in pattern or "?" in pattern
    match = re.compile(body if has_wildcards else rf"(?:.*\.)?{body}").fullmatch
    return lambda name: match(name) is not None or match(name.removesuffix(".weight")) is not None
