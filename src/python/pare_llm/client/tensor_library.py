"""Makes torch tensors or NumPy arrays of the bytes of an answer, without copying the bytes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pare_llm.client.wire_tensor import Array, WireTensor, is_torch, to_wire

if TYPE_CHECKING:
    import numpy as np
    import torch

Made = TypeVar("Made", covariant=True)


class TensorLibrary(Protocol[Made]):
    """The library, and for torch the device, of the tensors of an answer."""

    def make(self, tensor: WireTensor) -> Made:
        """Return `tensor` in this library."""

    def unpack_mask(self, bits: WireTensor, cols: int) -> Made:
        """Return (rows, cols) bool from (rows, ⌈cols/8⌉) U8. Bit j % 8 of byte j // 8 belongs to column j."""

    def to_integers(self, tensor: Any) -> Any:
        """Return the bits of `tensor` as integers of the same width, without a copy."""

    def convert(self, tensor: Any, like: Any) -> Any:
        """Return `tensor` in the library and dtype and on the device of `like`."""

    def zeros(self, shape: tuple[int, ...], *, is_wide: bool = False) -> Any:
        """Return zeros in float32, or with `is_wide` in float64, unless the device has no float64."""

    def unpack_upper(self, packed: Any, rows: int, cols: int) -> Any:
        """Return (rows, cols) whose row i has i zeros, and then the next cols − i entries of `packed`."""

    def count_nonzero(self, tensor: Any) -> int:
        """Return the number of elements that are not 0."""


def library_of(tensor: Array) -> TensorLibrary[Array]:
    """Return the library and the device of `tensor`."""
    library: Any = TorchLibrary(tensor.device) if is_torch(tensor) else NumpyLibrary()
    return library  # type: ignore[no-any-return]


class NumpyLibrary:
    """Makes NumPy arrays. bfloat16 has the dtype of `ml_dtypes`, which must be installed."""

    def make(self, tensor: WireTensor) -> np.ndarray[Any, Any]:
        """Return an array that shares the memory of `tensor`."""
        import numpy as np

        names = {"F32": "<f4", "F16": "<f2", "U8": "u1", "BOOL": "?"}
        if tensor.dtype == "BF16":
            dtype = np.dtype(import_module("ml_dtypes").bfloat16)
        else:
            dtype = np.dtype(names[tensor.dtype])
        return np.frombuffer(tensor.data, dtype).reshape(tensor.shape)

    def unpack_mask(self, bits: WireTensor, cols: int) -> np.ndarray[Any, Any]:
        import numpy as np

        unpacked = np.unpackbits(self.make(bits), axis=1, count=cols, bitorder="little")
        return unpacked.view(np.bool_)

    def to_integers(self, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return tensor.view({1: "u1", 2: "<i2", 4: "<i4"}[tensor.itemsize])

    def convert(self, tensor: Any, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        array = self.make(to_wire("tensor", tensor)) if is_torch(tensor) else tensor
        return array.astype(like.dtype, order="C", copy=False)

    def zeros(self, shape: tuple[int, ...], *, is_wide: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.zeros(shape, np.float64 if is_wide else np.float32)

    def unpack_upper(self, packed: np.ndarray[Any, Any], rows: int, cols: int) -> np.ndarray[Any, Any]:
        import numpy as np

        matrix = np.zeros((rows, cols), packed.dtype)
        matrix[np.triu(np.ones((rows, cols), np.bool_))] = packed
        return matrix

    def count_nonzero(self, tensor: np.ndarray[Any, Any]) -> int:
        import numpy as np

        return int(np.count_nonzero(tensor))


class TorchLibrary:
    """Makes torch tensors on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def make(self, tensor: WireTensor) -> torch.Tensor:
        """Return a tensor that shares the memory of `tensor` if the device is the CPU, otherwise a copy."""
        import torch

        from pare_llm.checkpoints.shard import torch_dtype

        flat = torch.frombuffer(tensor.data, dtype=torch_dtype(tensor.dtype))
        return flat.view(tensor.shape).to(self._device)

    def unpack_mask(self, bits: WireTensor, cols: int) -> torch.Tensor:
        import torch

        # Row b of the table has the eight entries of the byte b. A row is looked up as one 64-bit integer.
        shifts = torch.arange(8, dtype=torch.uint8, device=self._device)
        codes = torch.arange(256, dtype=torch.int16, device=self._device).to(torch.uint8)
        table = ((codes.unsqueeze(-1) >> shifts) & 1).to(torch.bool).view(torch.int64).flatten()
        packed = self.make(bits).to(torch.int32)
        unpacked = table.index_select(0, packed.flatten()).view(torch.bool)
        return unpacked.view(packed.shape[0], -1)[:, :cols].contiguous()

    def to_integers(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        return tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()])

    def convert(self, tensor: Any, like: torch.Tensor) -> torch.Tensor:
        made = tensor if is_torch(tensor) else self.make(to_wire("tensor", tensor))
        return made.detach().to(like.device, like.dtype)

    def zeros(self, shape: tuple[int, ...], *, is_wide: bool = False) -> torch.Tensor:
        import torch

        is_possible = is_wide and self._device.type != "mps"
        return torch.zeros(shape, dtype=torch.float64 if is_possible else torch.float32, device=self._device)

    def unpack_upper(self, packed: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
        import torch

        mask = torch.ones(rows, cols, dtype=torch.bool, device=packed.device).triu()
        return packed.new_zeros(rows, cols).masked_scatter_(mask, packed)

    def count_nonzero(self, tensor: torch.Tensor) -> int:
        return int(tensor.count_nonzero())
