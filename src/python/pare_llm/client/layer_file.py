"""The safetensors files of one layer. Unlike the library `safetensors`, this module copies no tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from pare_llm.checkpoints.header import LENGTH_BYTES, parse_header
from pare_llm.client.answers import parse_report, printable
from pare_llm.client.check_answer import receive_layer
from pare_llm.client.http.connection_pool import Body
from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import Array, Tensor, WireTensor, require_tensor, to_wire


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
    return len(padded).to_bytes(LENGTH_BYTES, "little") + padded


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
    data_begin = LENGTH_BYTES + int.from_bytes(file[:LENGTH_BYTES], "little")
    if len(file) < data_begin:
        raise ValueError(f"safetensors file: needs {data_begin} bytes for its header, but has {len(file)}")
    entries, metadata = parse_header(bytes(file[LENGTH_BYTES:data_begin]), len(file), "safetensors file")
    data = memoryview(file)
    tensors = {
        printable(each.name): WireTensor(each.dtype, each.shape, data[each.begin : each.end])
        for each in entries
    }
    return tensors, metadata
