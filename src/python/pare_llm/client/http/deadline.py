"""The time at which a call must have ended."""

import time


class Deadline:
    """The end of a call that may take `timeout` seconds, counted from the creation of this object.

    Args:
        timeout: seconds, or None if the call may take any time.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._end is not None and time.monotonic() >= self._end

    def remaining(self) -> float | None:
        """Return the seconds that remain, or None if there is no limit.

        Raises:
            TimeoutError: if the time is over.
        """
        if self._end is None:
            return None
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise self.error()
        return seconds

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`.

        Raises:
            TimeoutError: at once, if the time would be over before the end of the pause.
        """
        remaining = self.remaining()
        if remaining is not None and seconds >= remaining:
            raise self.error()
        time.sleep(max(0.0, seconds))

    def error(self) -> TimeoutError:
        """Return the error of a call that exceeds its time."""
        return TimeoutError(f"the call takes longer than its timeout of {self._timeout} s")
