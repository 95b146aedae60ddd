"""Files that are written completely or not at all, even if the process is killed or the power fails."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pare_llm.checkpoints.remote import PIECE_BYTES, is_remote, remote_upload
from pare_llm.client.layer_file import encode_header


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file under a temporary name. When the context ends, flush it to the disk and give it its name.

    If the context ends with an error, the file does not get its name.
    """
    if is_remote(path):
        with remote_upload(path) as upload:
            yield upload
        return
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # flush the new name too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with atomic_file(path) as file:
        file.write(content)


def tensor_bytes(values: Tensor) -> memoryview:
    """Return the bytes of a tensor in row-major order, without a copy if it is contiguous and on the CPU."""
    flat = values.detach().cpu().contiguous().reshape(-1)
    array: Any = flat.view(
        torch.uint8
    ).numpy()  # arrays are buffers, which the types of some versions do not say
    return memoryview(array)


@dataclass(frozen=True)
class TensorToWrite:
    """A tensor of a file that will be written."""

    dtype: str
    """The dtype by its name in safetensors files, such as `BF16`."""
    shape: tuple[int, ...]
    bytes: int
    read: Callable[[], Tensor]
    """Returns the values. They are freed before the next tensor is read."""


def write_safetensors(path: Path, tensors: Mapping[str, TensorToWrite]) -> None:
    """Write a file completely or not at all. A tensor of an unannounced size raises a ValueError."""
    entries = ((name, each.dtype, each.shape, each.bytes) for name, each in tensors.items())
    with atomic_file(path) as file:
        file.write(encode_header(entries, {"format": "pt"}))
        for name, tensor in tensors.items():
            content = tensor_bytes(tensor.read())
            if len(content) != tensor.bytes:
                raise ValueError(f"{path}: {name} has {len(content)} bytes, not {tensor.bytes}")
            for start in range(0, len(content), PIECE_BYTES):
                file.write(content[start : start + PIECE_BYTES])
            del content  # so that its memory is free while the next tensor is read
