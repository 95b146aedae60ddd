"""Files that are written completely or not at all, even if the process is killed or the power fails."""

import os
from pathlib import Path

TEMPORARY_SUFFIX = ".partial"


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, flush it to the disk, and give it its name."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    publish(temporary, path)


def publish(temporary: Path, path: Path) -> None:
    """Rename a file that has been flushed to the disk, and flush the new name."""
    os.replace(temporary, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
