"""Writes a safetensors file tensor by tensor. The library `safetensors` would first copy all tensors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pare_llm.pruning.atomic_file import atomic_file
from pare_llm.pruning.tensor_bytes import tensor_bytes

_ALIGNMENT = 8


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
    """Write a file completely or not at all.

    Raises:
        ValueError: if the values of a tensor have another size than announced.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.bytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            content = tensor_bytes(tensor.read())
            if len(content) != tensor.bytes:
                raise ValueError(f"{path}: {name} has {len(content)} bytes, not {tensor.bytes}")
            file.write(content)
