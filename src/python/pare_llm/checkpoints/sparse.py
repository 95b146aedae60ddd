"""Decodes weights in the layouts `sparse-bitmask` and `sparse-24-bitmask` of the compressed-tensors library.

In place of a tensor STEM.weight with the shape (rows, cols), a checkpoint has these parts:

    STEM.compressed   (n) or (rows, cols/2)  dtype of the weight   the stored entries, row by row
    STEM.bitmask      (rows, ceil(cols/8))   U8                    one bit per entry, 1 if it is stored
    STEM.shape        (2) or (2, 1)          I64                   rows, cols
    STEM.row_offsets  (rows)                 I64                   how many entries are stored before each row

Bit i % 8 of byte i // 8 in a row of the bitmask stands for column i. Bit 0 is the least significant one.

The second layout stores two of every four entries of a row, and has no row offsets. The sources are
`sparse_bitmask.py` and `sparse_24_bitmask.py` in github.com/vllm-project/compressed-tensors.
"""

import math
from dataclasses import dataclass

import torch

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.checkpoints.layout import SPARSE_24
from pare_llm.checkpoints.parts import (
    part_error,
    read_shape,
    require_absent,
    require_float,
    require_part,
    strips,
)
from pare_llm.checkpoints.shard import torch_dtype

_SUFFIXES = (".compressed", ".bitmask", ".shape", ".row_offsets")

# The eight bits of every byte as bools, (256, 8), and their numbers. Lookups are ten times as fast as shifts.
_BITS = ((torch.arange(256)[:, None] >> torch.arange(8)) & 1).bool()
_BITS_AS_WORDS = _BITS.flatten().view(torch.int64)
_BITS_SET = _BITS.sum(dim=1)


def sparse_stem(name: str) -> str | None:
    """Return the stem of the name of a part, or None if the tensor is not a part."""
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), None)


@dataclass(frozen=True)
class SparseWeight:
    """A packed weight. `count` is the number of stored entries."""

    name: str
    stem: str
    dtype: str
    rows: int
    cols: int
    count: int
    two_four: bool

    def decode(self, folder: CheckpointFolder) -> torch.Tensor:
        """Return the dense weight, (rows, cols), on the CPU. All bits of the stored entries are preserved.

        Raises ValueError if the bits of the mask contradict the other parts.
        """
        dtype = torch_dtype(self.dtype)
        words = torch.int32 if dtype.itemsize == 4 else torch.int16  # integers, so that NaNs keep their bits
        dense = torch.zeros((self.rows, self.cols), dtype=words)
        position = 0  # the number of stored entries before the strip
        for first, end in strips(self.rows, self.cols * dtype.itemsize):
            mask, counts = self._read_mask(folder, first, end)
            count = int(counts.sum())
            if self.two_four:
                self._check_two_four(folder, mask, first)
            else:
                self._check_offsets(folder, counts, first, position)
            if position + count > self.count:
                raise self._count_error(folder, f"more than {position + count - 1}")
            stored = folder.read(f"{self.stem}.compressed", position, count).view(words)
            dense[first:end].masked_scatter_(mask, stored)
            position += count
        if position != self.count:
            raise self._count_error(folder, str(position))
        return dense.view(dtype)

    def _read_mask(self, folder: CheckpointFolder, first: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the mask of rows `first` to `end` - 1 as bools, (rows, cols), and count the bits per row."""
        width = -(-self.cols // 8)
        packed = folder.read(f"{self.stem}.bitmask", first * width, (end - first) * width).int()
        mask = _BITS_AS_WORDS.index_select(0, packed).view(torch.bool).view(end - first, width * 8)
        counts = _BITS_SET.index_select(0, packed).view(end - first, width).sum(dim=1)
        padded = mask[:, self.cols :].any(dim=1)
        if padded.any():
            row = first + int(padded.int().argmax())
            raise ValueError(
                f"{folder.path}: {self.stem}.bitmask: row {row} has a bit set past its {self.cols} columns"
            )
        return mask[:, : self.cols], counts

    def _check_offsets(
        self, folder: CheckpointFolder, counts: torch.Tensor, first: int, position: int
    ) -> None:
        expected = position + counts.cumsum(0) - counts
        offsets = folder.read(f"{self.stem}.row_offsets", first, len(counts))
        wrong = offsets != expected
        if wrong.any():
            row = int(wrong.int().argmax())
            raise ValueError(
                f"{folder.path}: {self.stem}.row_offsets: row {first + row} must begin at entry "
                f"{int(expected[row])} according to the bitmask, not {int(offsets[row])}"
            )

    def _check_two_four(self, folder: CheckpointFolder, mask: torch.Tensor, first: int) -> None:
        wrong = mask.reshape(len(mask), -1, 4).sum(dim=2) != 2
        if wrong.any():
            row, group = divmod(int(wrong.flatten().int().argmax()), wrong.shape[1])
            raise ValueError(
                f"{folder.path}: {self.stem}.bitmask: row {first + row} must store two of the columns "
                f"{group * 4} to {group * 4 + 3}"
            )

    def _count_error(self, folder: CheckpointFolder, bits: str) -> ValueError:
        return ValueError(
            f"{folder.path}: {self.stem}.compressed has {self.count} entries, "
            f"but {self.stem}.bitmask has {bits} bits set"
        )


def find_sparse(folder: CheckpointFolder, stem: str, layout: str) -> SparseWeight:
    """Find the parts of a weight. Raises ValueError if one is missing, or has a wrong dtype or shape.

    `stem` ends with `.weight` in files of early versions of the library.
    """
    name = stem.removesuffix(".weight") + ".weight"
    require_absent(folder, name)
    rows, cols = read_shape(folder, f"{stem}.shape")
    stored = folder.info(f"{stem}.compressed").shape
    dtype = require_float(folder, f"{stem}.compressed")
    require_part(folder, f"{stem}.bitmask", "U8", (rows, -(-cols // 8)))
    if layout == SPARSE_24:
        if cols % 4 != 0:
            raise ValueError(f"{folder.path}: {stem}.shape has {cols} columns, which must be a multiple of 4")
        require_part(folder, f"{stem}.compressed", dtype, (rows, cols // 2))
    else:
        if len(stored) != 1:
            raise part_error(folder, f"{stem}.compressed", "a tensor with one axis")
        require_part(folder, f"{stem}.row_offsets", "I64", (rows,))
    return SparseWeight(name, stem, dtype, rows, cols, math.prod(stored), layout == SPARSE_24)
