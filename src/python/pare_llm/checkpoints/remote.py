"""Files in object stores such as S3, Google Cloud Storage and the Hugging Face hub, read by byte ranges.

A location with a scheme, such as `s3://bucket/folder`, becomes a path of universal-pathlib, which has the
methods of `pathlib.Path`. fsspec opens it with the credentials and the endpoint of the environment.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from pare_llm.arguments import require

PIECE_BYTES = 1 << 23
"""The most bytes that are read or written at a time. The parts of an upload to S3 must be at least 5 MiB."""


def as_path(location: str | os.PathLike[str], argument: str = "folder") -> Path:
    """Return the path of a location on this machine, or in an object store if it has a scheme.

    Raises a TypeError that names the argument if the location is not a path.
    Raises a ModuleNotFoundError that names the extra if the libraries for object stores are not installed.
    """
    if is_remote(location):
        return cast("Path", location)
    require(argument, location, (str, os.PathLike), "a path")
    if "://" not in str(location):
        return Path(location)
    try:
        from upath import UPath
    except ModuleNotFoundError as error:
        message = f'{location}: needs upath, which is not installed: pip install "pare-llm[cloud]"'
        raise ModuleNotFoundError(message, name=error.name) from error
    return cast("Path", UPath(str(location).rstrip("/")))


def is_remote(path: object) -> bool:
    """Return whether a path is one of universal-pathlib."""
    return type(path).__module__.startswith("upath.")


class RemoteFile(io.RawIOBase):
    """Reads a remote file by byte ranges of at most `PIECE_BYTES`, without a cache.

    fsspec repeats a request whose connection is interrupted.
    """

    def __init__(self, path: Any) -> None:
        """Find out the size of the file. Raises a FileNotFoundError if there is no such file."""
        self._fs, self._name, self._path = path.fs, path.path, path
        self._size: int = self._fs.size(self._name)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = starts[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, unless the file ends before. Raises an OSError if an answer is too short."""
        target = memoryview(buffer).cast("B")
        length = max(0, min(len(target), self._size - self._position))
        for start in range(0, length, PIECE_BYTES):
            wanted = min(PIECE_BYTES, length - start)
            end = self._position + wanted
            content = self._fs.cat_file(self._name, start=self._position, end=end)
            if len(content) != wanted:
                raise OSError(
                    f"{self._path}: {wanted} bytes from byte {self._position} were requested, but "
                    f"{len(content)} were sent"
                )
            target[start : start + wanted] = content
            self._position += wanted
        return length

    def readall(self) -> bytes:
        """Read the rest of the file. The method of the base class would request 8 KiB at a time."""
        return self.read(self._size - self._position)


@contextmanager
def remote_upload(path: Any) -> Iterator[BinaryIO]:
    """Write a remote file in parts. It exists after the context, unless the context ends with an error."""
    file = path.fs.open(path.path, "wb", block_size=PIECE_BYTES, autocommit=False)
    try:
        yield file
        file.close()
        file.commit()
    except BaseException:
        file.forced = True  # so that the destructor does not upload the rest
        file.discard()
        raise
