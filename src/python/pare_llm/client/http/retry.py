"""Repeats a request that failed transiently until its time is over, with randomised pauses that double."""

import math
import random
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from pare_llm.client.errors import PareError
from pare_llm.client.http.connection_error import PermanentConnectionError


class Deadline:
    """The end of a call that may take `timeout` seconds, or any time, from the creation of this object."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._end is not None and time.monotonic() >= self._end

    def remaining(self) -> float | None:
        """Return the seconds that remain, or None without a limit. Raise a TimeoutError if there are none."""
        if self._end is None:
            return None
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise self.error()
        return seconds

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`, or raise a TimeoutError at once if the time would be over before that."""
        remaining = self.remaining()
        if remaining is not None and seconds >= remaining:
            raise self.error()
        time.sleep(max(0.0, seconds))

    def error(self) -> TimeoutError:
        """Return the error of a call that exceeds its time."""
        return TimeoutError(f"the call takes longer than its timeout of {self._timeout} s")


T = TypeVar("T")

# A larger power of two overflows.
_MAX_DOUBLINGS = 60


def with_retries(
    attempt: Callable[[], T],
    *,
    retries: int,
    backoff_ms: float,
    deadline: Deadline,
    is_transient: Callable[[PareError | ConnectionError], bool],
    before_pause: Callable[[PareError | ConnectionError, float], float],
    max_backoff_ms: float = math.inf,
) -> T:
    """Call `attempt` until it succeeds, at most `retries` times after the first call.

    The first pause has `backoff_ms`, multiplied by a random number between 1 and 2, so that clients that
    failed together do not come back together. It doubles up to `max_backoff_ms`. `before_pause` gets the
    error and this pause, and returns the pause in milliseconds.

    Raises:
        PareError, ConnectionError: the error of the last attempt, or the first error that is not transient.
        TimeoutError: if the deadline passes. Its context is the error of the last attempt.
    """
    for failures in count():
        try:
            return attempt()
        except (PareError, ConnectionError) as error:
            if failures >= retries or isinstance(error, PermanentConnectionError) or not is_transient(error):
                raise
            doubled = backoff_ms * 2.0 ** min(failures, _MAX_DOUBLINGS)
            pause_ms = before_pause(error, min(random.uniform(1, 2) * doubled, max_backoff_ms))
            deadline.sleep(pause_ms / 1000)
    raise AssertionError("the loop above has no end")
