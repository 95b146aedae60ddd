"""Checks the header of a safetensors file or answer (https://huggingface.co/docs/safetensors).

The reader of the safetensors library (version 0.8) is not used. It accepts 8 of the 76 hostile files of the
tests, among them headers that list a tensor twice, and its errors do not name the file. It maps files into
memory, so a file that another program shortens ends the process by a signal, and a loop over the tensors of
a file keeps all of them in memory. The rules are the same as in Pare's reader in TypeScript, so both accept
the same files, except for the largest number of elements.
"""

import json
import math
import os
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

# The size of one element in bytes, for every dtype that Pare accepts.
ELEMENT_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8},
    **{"F16": 2, "BF16": 2, "F32": 4, "F64": 8},
}

# The dtypes that a weight may have.
FLOAT_DTYPES = ("F32", "F16", "BF16")

LENGTH_BYTES = 8
"""The bytes in front of the header, which hold the length of the header."""

_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
_MAX_EXTENT = 2**53 - 1
_MAX_ELEMENTS = 2**60  # PyTorch computes strides in 64 bits, also for tensors that are empty


@dataclass(frozen=True)
class TensorInfo:
    """The dtype, the shape and the position of a tensor. `begin` and `end` are byte offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        """The size of the values."""
        return self.end - self.begin


def read_header(file: RawIOBase, path: Path) -> tuple[list[TensorInfo], dict[str, str]]:
    """Return the tensors in the order of their data, and the metadata. A wrong header raises a ValueError."""
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    data_begin = LENGTH_BYTES + length
    if length > _MAX_HEADER_BYTES:
        raise ValueError(
            f"{path}: the header has {length} bytes, but at most {_MAX_HEADER_BYTES} are allowed"
        )
    if file_bytes < data_begin:
        raise ValueError(f"{path}: the file has {file_bytes} bytes, but the header ends at byte {data_begin}")
    return parse_header(file.read(length), file_bytes, path)


def parse_header(text: bytes, file_bytes: int, path: object) -> tuple[list[TensorInfo], dict[str, str]]:
    """Parse the header `text` of a file of `file_bytes` bytes, as `read_header`. Errors begin with `path`."""
    data_begin = LENGTH_BYTES + len(text)
    entries = _parse_json(text, path)
    metadata: Any = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{path}: __metadata__ must be an object of strings, not {quote(metadata)}")
    tensors = [_parse_entry(path, name, entry, data_begin) for name, entry in entries.items()]
    tensors.sort(key=lambda info: (info.begin, info.end))
    position = data_begin
    for info in tensors:
        if info.begin != position:
            raise ValueError(
                f"{path}: the tensor {quote(info.name)} begins at byte {info.begin - data_begin} of the "
                f"data, but the tensor before it ends at byte {position - data_begin}"
            )
        position = info.end
    if position != file_bytes:
        raise ValueError(f"{path}: the file has {file_bytes} bytes, but its tensors end at byte {position}")
    return tensors, metadata


def quote(value: object) -> str:
    """Format a value of a file for an error message. Long values are cut to 200 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _parse_json(text: bytes, path: object) -> dict[str, object]:
    if not text.startswith(b"{"):
        raise ValueError(
            f"{path}: the header must begin with '{{', not {quote(text[:1].decode(errors='replace'))}"
        )
    try:
        entries: dict[str, object] = json.loads(
            text.decode(), object_pairs_hook=_unique_keys, parse_int=_plain_integer
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the header is not valid JSON: {str(error)[:200]}") from error
    return entries


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries: dict[str, object] = {}
    for key, value in pairs:
        if not _is_unicode(key) or (isinstance(value, str) and not _is_unicode(value)):
            raise ValueError(f"the key {quote(key)} or its value is not valid Unicode")
        if key in entries:
            raise ValueError(f"the key {quote(key)} is repeated")
        entries[key] = value
    return entries


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _plain_integer(text: str) -> int:
    if text.startswith("-"):
        raise ValueError(f"the number {text[:20]} is negative")
    return int(text)


def _parse_entry(path: object, name: str, entry: object, data_begin: int) -> TensorInfo:
    def malformed(rule: str) -> ValueError:
        return ValueError(f"{path}: the tensor {quote(name)} {rule}")

    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise malformed(f"must have exactly the keys dtype, shape and data_offsets, not {quote(entry)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_BYTES:
        raise malformed(f"has the dtype {quote(dtype)}; the supported dtypes are: {', '.join(ELEMENT_BYTES)}")
    if not _are_sizes(shape) or math.prod(max(extent, 1) for extent in shape) > _MAX_ELEMENTS:
        raise malformed(f"needs a shape of integers from 0 with at most 2^60 elements, not {quote(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise malformed(f"needs data_offsets [begin, end] with begin <= end, not {quote(offsets)}")
    needed = math.prod(shape) * ELEMENT_BYTES[dtype]
    if offsets[1] - offsets[0] != needed:
        raise malformed(f"has data_offsets {quote(offsets)}, but {dtype} {quote(shape)} needs {needed} bytes")
    return TensorInfo(name, dtype, tuple(shape), data_begin + offsets[0], data_begin + offsets[1])


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= _MAX_EXTENT for size in value)
