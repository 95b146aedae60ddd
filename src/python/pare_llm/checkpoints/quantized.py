"""Decodes weights in the layout `pack-quantized` of the compressed-tensors library.

In place of a tensor STEM.weight with the shape (rows, cols), a checkpoint has these parts, where B is 2 to 8:

    STEM.weight_packed      (rows, ceil(cols*B/32))    I32                   the codes of each row
    STEM.weight_scale       (rows, groups)             dtype of the weight
    STEM.weight_zero_point  (ceil(rows*B/32), groups)  I32                   absent if the grids are symmetric
    STEM.weight_shape       (2)                        I64                   rows, cols

A code has B bits, and the first code is in the least significant bits of a word. A code may extend over
two words. An entry of the weight is
(code - zero)*scale. The zero of a symmetric grid is 2^(B-1). The source is
`compressors/pack_quantized` in github.com/vllm-project/compressed-tensors (version 0.20).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.checkpoints.header import FLOAT_DTYPES
from pare_llm.checkpoints.layout import CodeKind
from pare_llm.checkpoints.shard import torch_dtype

_STRIP_BYTES = 4 << 20
_SUFFIXES = (".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape")
# Other versions of the library write these parts, which change the meaning of the codes.
_UNSUPPORTED_SUFFIXES = (".weight_g_idx", ".weight_global_scale")


def quantized_stem(name: str) -> str | None:
    """Return the stem of the name of a part, or None if the tensor is not a part."""
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), None)


@dataclass(frozen=True)
class QuantizedWeight:
    """A quantised weight. Each row has `groups` grids, which are for equal numbers of columns."""

    name: str
    stem: str
    dtype: str
    rows: int
    cols: int
    groups: int
    kind: CodeKind

    def decode(self, folder: CheckpointFolder) -> torch.Tensor:
        """Return the dense weight, (rows, cols), on the CPU.

        The product (code - zero)*scale is computed in float32 and then rounded to the dtype of the weight.
        For float16 and bfloat16 the product is exact before it is rounded. Raises ValueError if a scale is
        not a finite number.
        """
        dtype = torch_dtype(self.dtype)
        dense = torch.empty((self.rows, self.cols), dtype=dtype)
        words = _words(self.cols, self.kind.bits)
        zeros = self._read_zeros(folder)
        for first, end in _strips(self.rows, self.cols * dtype.itemsize):
            packed = folder.read(f"{self.stem}.weight_packed", first * words, (end - first) * words)
            codes = _codes(packed.view(end - first, words), self.kind.bits)[:, : self.cols]
            scales = self._read_scales(folder, first, end)
            grouped = codes.reshape(end - first, self.groups, self.cols // self.groups).float()
            values = grouped.sub_(zeros[first:end, :, None]).mul_(scales[:, :, None])
            # The assignment rounds to the nearest value, ties to even.
            # Adding 0 makes 0 of the −0 that a negative scale gives.
            dense[first:end] = values.view(end - first, self.cols)
            dense[first:end].add_(0.0)
        return dense

    def _read_scales(self, folder: CheckpointFolder, first: int, end: int) -> torch.Tensor:
        """Read the scales of the rows `first` to `end` - 1, (rows, groups) float32."""
        name = f"{self.stem}.weight_scale"
        scales = folder.read(name, first * self.groups, (end - first) * self.groups).float()
        wrong = ~scales.isfinite()
        if wrong.any():
            at = int(wrong.int().argmax())
            row, group = divmod(at, self.groups)
            raise ValueError(
                f"{folder.path}: {name}: entry [{first + row}, {group}] must be a finite number, "
                f"not {float(scales[at])}"
            )
        return scales.view(end - first, self.groups)

    def _read_zeros(self, folder: CheckpointFolder) -> torch.Tensor:
        """Read the zeros of all grids, (rows, groups) float32."""
        bits = self.kind.bits
        if self.kind.symmetric:
            return torch.full((self.rows, self.groups), float(2 ** (bits - 1)))
        packed = folder.read(f"{self.stem}.weight_zero_point").view(-1, self.groups)
        # A word holds the zeros of several rows of one group, so words are unpacked along the columns.
        return _codes(packed.T, bits)[:, : self.rows].T.float()


def _words(count: int, bits: int) -> int:
    return -(-count * bits // 32)


def _codes(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Unpack int32 words, (rows, words), to codes, (rows, words * 32 / bits) uint8."""
    rows, count = words.shape
    return unpack_bytes(words.flatten().view(torch.uint8).view(rows, count * 4), bits)


def unpack_bytes(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Unpack bytes (rows, bytes) to numbers of `bits` bits. The first number is in the lowest bits."""
    whole = torch.nn.functional.pad(packed, (0, -packed.shape[1] % bits))
    groups = whole.reshape(packed.shape[0], -1, bits)  # bytes with 8 numbers each
    numbers = []
    for byte, shift in (divmod(i * bits, 8) for i in range(8)):
        number = groups[..., byte] >> shift
        if shift + bits > 8:
            number |= groups[..., byte + 1] << (8 - shift)
        numbers.append(number & (2**bits - 1))
    return torch.stack(numbers, dim=-1).flatten(1)


def find_quantized(folder: CheckpointFolder, stem: str, kinds: Sequence[CodeKind]) -> QuantizedWeight:
    """Find the parts of a weight. Raises ValueError if one is missing, or has a wrong dtype or shape.

    `kinds` has the kinds of codes that config.json lists. The shapes of the parts decide which of them a
    weight has.
    """
    name, packed, scale = f"{stem}.weight", f"{stem}.weight_packed", f"{stem}.weight_scale"
    if name in folder:
        raise ValueError(
            f"{folder.path}: has {name} both dense and packed, but one weight must have one value"
        )
    for suffix in _UNSUPPORTED_SUFFIXES:
        if stem + suffix in folder:
            raise ValueError(f"{folder.path}: {stem}{suffix} is a part that is not supported")
    rows, cols = _read_shape(folder, f"{stem}.weight_shape")
    dtype = _require_float(folder, scale)
    symmetric = f"{stem}.weight_zero_point" not in folder
    shape = folder.info(packed).shape
    fitting = {
        kind for kind in kinds if kind.symmetric == symmetric and shape == (rows, _words(cols, kind.bits))
    }
    if len(fitting) != 1:
        raise ValueError(
            f"{folder.path}: {packed} {list(shape)} of a weight [{rows}, {cols}] "
            f"{'without' if symmetric else 'with'} a zero point must fit exactly one kind of codes in "
            f"config.json, which has {', '.join(map(_describe, kinds))}"
        )
    kind = fitting.pop()
    scale_shape = folder.info(scale).shape
    groups = scale_shape[1] if len(scale_shape) > 1 else 0
    if groups == 0 or cols % groups != 0:
        raise ValueError(
            f"{folder.path}: {scale} {list(scale_shape)} must have a number of columns that divides {cols}"
        )
    _require_part(folder, packed, "I32", (rows, _words(cols, kind.bits)))
    _require_part(folder, scale, dtype, (rows, groups))
    if not symmetric:
        _require_part(folder, f"{stem}.weight_zero_point", "I32", (_words(rows, kind.bits), groups))
    return QuantizedWeight(name, stem, dtype, rows, cols, groups, kind)


def _describe(kind: CodeKind) -> str:
    return f"{kind.bits} bits {'symmetric' if kind.symmetric else 'asymmetric'}"


def _require_part(folder: CheckpointFolder, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Check the dtype and the shape of a part."""
    info = folder.info(name)
    if (info.dtype, info.shape) != (dtype, shape):
        raise _part_error(folder, name, f"{dtype} {list(shape)}")


def _require_float(folder: CheckpointFolder, name: str) -> str:
    """Return the dtype of a part, which must be a dtype of weights."""
    dtype = folder.info(name).dtype
    if dtype not in FLOAT_DTYPES:
        raise _part_error(folder, name, "F32, F16 or BF16")
    return dtype


def _read_shape(folder: CheckpointFolder, name: str) -> tuple[int, int]:
    """Read a part that contains the shape of the weight. The part is I64 [2], or [2, 1] in early files."""
    info = folder.info(name)
    if info.dtype != "I64" or info.shape not in ((2,), (2, 1)):
        raise _part_error(folder, name, "I64 [2] or [2, 1]")
    rows, cols = folder.read(name).tolist()
    if not (0 <= rows < 2**53 and 0 <= cols < 2**53):
        raise ValueError(f"{folder.path}: {name} must contain a shape, not [{rows}, {cols}]")
    return rows, cols


def _part_error(folder: CheckpointFolder, name: str, needed: str) -> ValueError:
    """Make the error for a part with a wrong dtype or shape."""
    info = folder.info(name)
    return ValueError(f"{folder.path}: {name} must be {needed}, not {info.dtype} {list(info.shape)}")


def _strips(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Divide a weight into ranges of rows with at most 4 MiB of dense values. An empty weight has no ranges.

    Decoding needs several bytes of temporary memory per entry, so a weight is decoded range by range.
    """
    if row_bytes == 0:
        return
    count = max(1, _STRIP_BYTES // row_bytes)
    for first in range(0, rows, count):
        yield first, min(first + count, rows)
