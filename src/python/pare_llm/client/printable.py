"""Texts of servers, in the form in which errors contain them."""

# A refusal of a host quotes at most 20 items of 200 characters.
_MAX_LENGTH = 5000


def printable(text: str, max_length: int = _MAX_LENGTH) -> str:
    """Escape the control characters of a text, and cut it if it is too long.

    Without this, a server could move the cursor of a terminal or forge lines of a log.
    """
    start = text[: max_length + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    return escaped if len(escaped) <= max_length else f"{escaped[: max_length - 1]}…"
