"""Opens the files of a checkpoint."""

import os
import stat
from io import FileIO
from pathlib import Path


def open_file(path: Path) -> FileIO:
    """Open a file for reading. Links are followed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the path is not a regular file. A reader of a pipe could wait forever.
    """
    # With this flag, opening a pipe does not wait for a writer. Windows has no such pipes.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: must be a regular file, not a pipe, a device or a folder")
    return FileIO(descriptor)
