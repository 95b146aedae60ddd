"""The safetensors files of one layer. Unlike the library `safetensors`, this module copies no tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pare_llm.client.answers import parse_report, printable
from pare_llm.client.check_answer import receive_layer
from pare_llm.client.http.connection_pool import Body
from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import (
    BYTES_PER_ELEMENT,
    Array,
    Tensor,
    WireTensor,
    require_tensor,
    to_wire,
)

# The field in front of the header that holds the length of the header.
_LENGTH_BYTES = 8


class _Entry(NamedTuple):
    """An entry of the header of a safetensors file. The offsets count from the first byte of data."""

    begin: int
    end: int
    name: str
    dtype: str
    shape: tuple[int, ...]


def packed_statistics(hessian_upper: Tensor, validation_upper: Tensor | None) -> dict[str, Tensor | None]:
    """Return the tensors of a file of statistics."""
    require_tensor("hessian_upper", hessian_upper)
    return {"hessian_upper": hessian_upper, "validation_hessian_upper": validation_upper}


def encode_parts(
    tensors: Mapping[str, Tensor | WireTensor | None], metadata: Mapping[str, str] | None = None
) -> Body:
    """Encode `tensors` other than None as the parts of a safetensors file, without copying their data."""
    wired = {
        name: tensor if isinstance(tensor, WireTensor) else to_wire(name, tensor)
        for name, tensor in tensors.items()
        if tensor is not None
    }
    entries = [(name, tensor.dtype, tensor.shape, len(tensor.data)) for name, tensor in wired.items()]
    return [encode_header(entries, metadata), *(tensor.data for tensor in wired.values())]


def encode_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return the start of a safetensors file with `tensors`: name, dtype, shape and number of bytes."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, dtype, shape, count in tensors:
        begin, end = end, end + count
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    # The header is padded with spaces, so that the data begins at a multiple of 8 bytes.
    padded = text.ljust(math.ceil(len(text) / 8) * 8)
    return len(padded).to_bytes(_LENGTH_BYTES, "little") + padded


def decode_answer(
    body: bytearray, library: TensorLibrary[Array], layer: LayerToUpload[Array] | None = None
) -> PrunedLayer[Array]:
    """Decode the answer for `layer`, and check it. Without `layer`, only its own parts are compared.

    Raises:
        ValueError: if `body` is not a safetensors file, lacks a tensor or the report, or is another layer.
    """
    tensors, metadata = decode(body)
    report = parse_report(metadata.get("report"))
    try:
        return receive_layer(tensors, report, library, layer)
    except ValueError as error:
        raise ValueError(f"answer of /v1/layers: {error}") from None


def decode(file: bytearray) -> tuple[dict[str, WireTensor], dict[str, str]]:
    """Read the tensors, which share the memory of `file`, and the metadata. A ValueError names a fault."""
    data_begin = _LENGTH_BYTES + int.from_bytes(file[:_LENGTH_BYTES], "little")
    if len(file) < max(data_begin, _LENGTH_BYTES):
        raise ValueError(f"safetensors file: needs {data_begin} bytes for its header, but has {len(file)}")
    entries, metadata = _parse_header(file[_LENGTH_BYTES:data_begin])
    data = memoryview(file)[data_begin:]
    tensors: dict[str, WireTensor] = {}
    position = 0
    for begin, end, name, dtype, shape in entries:
        if begin != position:
            raise ValueError(
                f"safetensors file: tensor {name} begins at byte {begin} of the data instead of {position}"
            )
        needed = math.prod(shape) * BYTES_PER_ELEMENT[dtype]
        if end - begin != needed or end > len(data):
            raise ValueError(
                f"safetensors file: tensor {name} needs {needed} bytes, but its range is {begin} to {end} "
                f"of {len(data)}"
            )
        tensors[name] = WireTensor(dtype, shape, data[begin:end])
        position = end
    if position != len(data):
        raise ValueError(
            f"safetensors file: has {len(data)} bytes of data, but its tensors end at byte {position}"
        )
    return tensors, metadata


def _parse_header(text: bytearray) -> tuple[list[_Entry], dict[str, str]]:
    """Return the entries of the header in the order of their data, and the metadata."""
    try:
        header: dict[str, Any] = json.loads(text)
        metadata = header.pop("__metadata__", {})
        entries = sorted(
            _Entry(begin, end, printable(name), entry["dtype"], tuple(entry["shape"]))
            for name, entry in header.items()
            for begin, end in [entry["data_offsets"]]
        )
        is_right = isinstance(metadata, dict) and all(
            entry.dtype in BYTES_PER_ELEMENT
            and all(type(size) is int and size >= 0 for size in (entry.begin, entry.end, *entry.shape))
            for entry in entries
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ValueError("safetensors file: its header does not describe tensors")
    return entries, metadata
