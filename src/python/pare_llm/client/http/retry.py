"""Repeats a request that failed transiently, with a randomised pause that doubles after each failure."""

import math
import random
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from pare_llm.client.errors import PareError
from pare_llm.client.http.connection_error import PermanentConnectionError
from pare_llm.client.http.deadline import Deadline

T = TypeVar("T")

# The exponent of the pause stops growing here, because a larger power of two overflows.
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

    Args:
        attempt: sends the request.
        retries: number of attempts after the first one.
        backoff_ms: first pause in milliseconds. The pause doubles after each failure, and is multiplied by a
            random number between 1 and 2, so that clients that failed together do not come back together.
        deadline: the time at which the call must have ended.
        is_transient: whether another attempt may succeed after this error.
        before_pause: called with the error and with the milliseconds of the backoff. Returns the pause in
            milliseconds.
        max_backoff_ms: longest backoff in milliseconds.

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
