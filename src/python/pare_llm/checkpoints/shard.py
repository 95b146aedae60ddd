"""Opens files, and reads tensors from one weight file."""

import os
import stat
import threading
import weakref
from io import FileIO, RawIOBase
from pathlib import Path

import torch

from pare_llm.checkpoints.header import ELEMENT_BYTES, TensorInfo, read_header
from pare_llm.checkpoints.remote import RemoteFile, is_remote

_TORCH_DTYPES = {
    **{"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16},
    **{"U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64},
    **{"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64},
}


def torch_dtype(name: str) -> torch.dtype:
    """Return the PyTorch dtype of a dtype in a safetensors file."""
    return _TORCH_DTYPES[name]


def safetensors_dtype(dtype: torch.dtype, name: str) -> str:
    """Return the name of a dtype in safetensors files. A ValueError says which tensor has another dtype."""
    for stored, found in _TORCH_DTYPES.items():
        if found == dtype:
            return stored
    raise ValueError(f"{name}: has the dtype {dtype}; the supported dtypes are: {', '.join(_TORCH_DTYPES)}")


def open_file(path: Path) -> RawIOBase:
    """Open a regular file, also through a link. The reader of a pipe could wait forever."""
    if is_remote(path):
        return RemoteFile(path)
    # With this flag, opening a pipe does not wait for a writer. Windows has no such pipes.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: must be a regular file, not a pipe, a device or a folder")
    return FileIO(descriptor)


class Shard:
    """An open safetensors file. It stays open until `close`, or until nothing refers to the object.

    The file is read, not mapped into memory, so the tensors own their memory and survive if the file is
    replaced.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check its header. Raises ValueError if the header is malformed."""
        self.path = path
        self._file = open_file(path)
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, self._file.close)
        self.tensors, self.metadata = read_header(self._file, path)
        self.files = [path]

    def read(self, info: TensorInfo, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Read `count` elements from the element `first` on, by default all, as one axis on the CPU."""
        size = ELEMENT_BYTES[info.dtype]
        begin = info.begin + first * size
        length = info.end - begin if count is None else count * size
        if length == 0:
            return torch.empty(0, dtype=torch_dtype(info.dtype))
        data = bytearray(length)
        with self._lock:
            self._file.seek(begin)
            self._fill(info, memoryview(data))
        if info.dtype == "BOOL":  # a byte of a bool must be 0 or 1, but a file may hold any byte
            return torch.frombuffer(data, dtype=torch.uint8) != 0
        return torch.frombuffer(data, dtype=torch_dtype(info.dtype))

    def _fill(self, info: TensorInfo, rest: memoryview) -> None:
        while rest:
            read = self._file.readinto(rest)
            if not read:
                raise ValueError(
                    f"{self.path}: the file ended inside the tensor {info.name}, because it was changed"
                )
            rest = rest[read:]
