"""Checks the tensors that a packed weight consists of, and divides weights into strips of rows.

These tensors are called the parts of the weight. The parts of one weight may be in different files.
"""

from collections.abc import Iterator
from typing import Protocol

import torch

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.checkpoints.header import FLOAT_DTYPES

_STRIP_BYTES = 4 << 20


class PackedWeight(Protocol):
    """A weight whose parts have been found. Their dtypes and shapes agree with each other."""

    @property
    def name(self) -> str:
        """The name of the dense weight."""

    def decode(self, folder: CheckpointFolder) -> torch.Tensor:
        """Return the dense weight, (rows, cols). Raises ValueError if the parts contradict each other."""


def require_part(folder: CheckpointFolder, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Check the dtype and the shape of a part."""
    info = folder.info(name)
    if (info.dtype, info.shape) != (dtype, shape):
        raise part_error(folder, name, f"{dtype} {list(shape)}")


def require_float(folder: CheckpointFolder, name: str) -> str:
    """Return the dtype of a part, which must be one that a weight can have."""
    dtype = folder.info(name).dtype
    if dtype not in FLOAT_DTYPES:
        raise part_error(folder, name, "F32, F16 or BF16")
    return dtype


def read_shape(folder: CheckpointFolder, name: str) -> tuple[int, int]:
    """Read a part that contains the shape of the weight. The part is I64 [2], or I64 [2, 1] in one layout."""
    info = folder.info(name)
    if info.dtype != "I64" or info.shape not in ((2,), (2, 1)):
        raise part_error(folder, name, "I64 [2] or [2, 1]")
    rows, cols = folder.read(name).tolist()
    if not (0 <= rows < 2**53 and 0 <= cols < 2**53):
        raise ValueError(f"{folder.path}: {name} must contain a shape, not [{rows}, {cols}]")
    return rows, cols


def require_absent(folder: CheckpointFolder, weight: str) -> None:
    """Check that a packed weight is not stored as a dense weight too."""
    if weight in folder:
        raise ValueError(
            f"{folder.path}: has {weight} both dense and packed, but one weight must have one value"
        )


def part_error(folder: CheckpointFolder, name: str, needed: str) -> ValueError:
    """Make the error for a part with a wrong dtype or shape."""
    info = folder.info(name)
    return ValueError(f"{folder.path}: {name} must be {needed}, not {info.dtype} {list(info.shape)}")


def strips(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Divide a weight into ranges of rows with at most 4 MiB of dense values. An empty weight has no ranges.

    Decoding needs several bytes of temporary memory per entry, so a weight is decoded range by range.
    """
    if row_bytes == 0:
        return
    count = max(1, _STRIP_BYTES // row_bytes)
    for first in range(0, rows, count):
        yield first, min(first + count, rows)
