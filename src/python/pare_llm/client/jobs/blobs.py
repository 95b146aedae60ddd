"""The blobs of an edge: uploads larger than memory, and downloads, whose digests are verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pare_llm.arguments import require
from pare_llm.client.http.connection_pool import Body
from pare_llm.client.transport import Transport

_HASH_CHUNK_BYTES = 8 * 2**20

# The bytes of an upload: in one buffer, in several buffers that follow each other, or in the file at a path.
BlobInput = bytes | bytearray | memoryview | Sequence[bytes | memoryview] | os.PathLike[str]


class BlobSource(Protocol):
    """Bytes that can be read in ranges, any number of times, also by several threads."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def slice(self, start: int, end: int) -> Body:
        """Return the bytes from `start` up to `end`, exclusive, in one or more parts."""


class MemoryBlob:
    """Bytes in buffers that follow each other. The buffers are not copied."""

    def __init__(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        self._parts = [memoryview(part) for part in parts]
        self.size = sum(len(part) for part in self._parts)

    def slice(self, start: int, end: int) -> Body:
        """Return the bytes from `start` up to `end`, exclusive."""
        return list(self._slices(start, end))

    def _slices(self, start: int, end: int) -> Iterator[memoryview]:
        begin = 0
        for part in self._parts:
            piece = part[max(start - begin, 0) : max(end - begin, 0)]
            if len(piece) > 0:
                yield piece
            begin += len(part)


class FileBlob:
    """The bytes of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def slice(self, start: int, end: int) -> Body:
        """Read the bytes from `start` up to `end`, exclusive."""
        with self._path.open("rb") as file:
            file.seek(start)
            return [file.read(end - start)]


def to_blob_source(source: BlobInput) -> BlobSource:
    """Return `source` as bytes that can be read in ranges."""
    if isinstance(source, os.PathLike):
        return FileBlob(Path(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return MemoryBlob([source])
    require("source", source, (list, tuple), "bytes, a list of buffers, or a path such as Path('layer.bin')")
    for index, part in enumerate(source):
        require(f"source[{index}]", part, (bytes, bytearray, memoryview), "bytes or a memoryview")
    return MemoryBlob(source)


def digest_of_blob(source: BlobSource) -> str:
    """Compute the digest `sha256:HEX` of `source`, chunk by chunk."""
    hasher = hashlib.sha256()
    for start in range(0, source.size, _HASH_CHUNK_BYTES):
        for part in source.slice(start, min(start + _HASH_CHUNK_BYTES, source.size)):
            hasher.update(part)
    return f"sha256:{hasher.hexdigest()}"


# How many answers may have a wrong digest, because bytes can be damaged in transit. A download has retries.
_ATTEMPTS = 2


def download_blob(transport: Transport, digest: str, max_bytes: int) -> bytearray:
    """Return the bytes of a blob. A ValueError says that they are too many or have another digest."""
    got = ""
    for _ in range(_ATTEMPTS):
        body = transport.send("GET", f"/v1/blobs/{digest}", max_answer_bytes=max_bytes)
        got = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if got == digest:
            return body
    raise ValueError(
        f"blob {digest}: the server has sent bytes with the digest {got}, in {_ATTEMPTS} attempts"
    )
