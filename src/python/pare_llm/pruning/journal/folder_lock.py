"""A lock on a folder, so that two processes do not work on the same run."""

from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """A lock that the operating system releases when the process ends. Without `fcntl`, nothing is locked."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            RuntimeError: if another process has it.
        """
        self._file = (folder / "lock").open("w")
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RuntimeError(f"{folder}: another process is working on the run of this journal") from None

    def release(self) -> None:
        """Release the lock. Idempotent."""
        self._file.close()
