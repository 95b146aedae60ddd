"""Tensors as they are sent. The data is copied only from other devices, or if it is not contiguous."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, Union

if TYPE_CHECKING:
    import numpy as np
    import torch

Tensor = Union["torch.Tensor", "np.ndarray[Any, Any]"]

# The library of a tensor that a function receives, and of the tensors that it returns.
Array = TypeVar("Array", "torch.Tensor", "np.ndarray[Any, Any]")

# The dtypes of the HTTP contract, by the names that NumPy, ml_dtypes and torch use.
_WIRE_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL", "uint8": "U8"}


@dataclass(frozen=True)
class WireTensor:
    """The bytes of a tensor, row-major and little-endian. `data` is flat, and keeps its memory alive."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


def is_torch(tensor: object) -> TypeGuard[torch.Tensor]:
    """Whether `tensor` is a torch tensor. The function does not import torch."""
    return "torch" in sys.modules and isinstance(tensor, sys.modules["torch"].Tensor)


def require_tensor(name: str, tensor: object) -> None:
    """Raise a TypeError unless `tensor` is a torch tensor or a NumPy array. The function imports neither."""
    numpy = sys.modules.get("numpy")
    if not is_torch(tensor) and (numpy is None or not isinstance(tensor, numpy.ndarray)):
        raise TypeError(f"{name}: must be a torch tensor or a NumPy array, got {type(tensor).__name__}")


def to_wire(name: str, tensor: Tensor) -> WireTensor:
    """Convert a tensor in a dtype of the contract. A TypeError names the tensor if it has another one."""
    require_tensor(name, tensor)
    return _torch_to_wire(name, tensor) if is_torch(tensor) else _numpy_to_wire(name, tensor)


def dtype_of(name: str, tensor: Tensor) -> str:
    """Return the dtype of a tensor as safetensors files name it. A TypeError names the tensor."""
    dtype: Any = tensor.dtype
    return _wire_dtype(name, str(dtype).removeprefix("torch.") if is_torch(tensor) else dtype.name)


def _torch_to_wire(name: str, tensor: torch.Tensor) -> WireTensor:
    dtype = dtype_of(name, tensor)
    on_cpu = tensor.detach().cpu().contiguous()
    # torch tensors lack the buffer protocol, and NumPy may be missing, so the memory is addressed directly.
    count = on_cpu.numel() * on_cpu.element_size()
    address = on_cpu.data_ptr()
    if count > 0 and address == 0:
        kind = type(tensor).__name__
        raise TypeError(
            f"{name}: a {kind} has no data of its own, so gather it first, with full_tensor() for a DTensor"
        )
    buffer = (ctypes.c_ubyte * count).from_address(address)
    # The buffer does not own the memory, so it holds the tensor that does.
    buffer.owner = on_cpu  # type: ignore[attr-defined]
    return WireTensor(dtype, tuple(on_cpu.shape), memoryview(buffer))


def _numpy_to_wire(name: str, tensor: Any) -> WireTensor:
    numpy: Any = sys.modules["numpy"]
    dtype = dtype_of(name, tensor)
    if tensor.dtype.byteorder == ">":
        tensor = tensor.astype(tensor.dtype.newbyteorder("<"))
    array: np.ndarray[Any, Any] = numpy.ascontiguousarray(tensor)
    return WireTensor(dtype, tensor.shape, memoryview(array.reshape(-1).view(numpy.uint8)))


def _wire_dtype(name: str, dtype: str) -> str:
    if dtype not in _WIRE_DTYPES:
        allowed = ", ".join(_WIRE_DTYPES)
        raise TypeError(f"{name}: has the dtype {dtype}, but must have one of {allowed}")
    return _WIRE_DTYPES[dtype]
