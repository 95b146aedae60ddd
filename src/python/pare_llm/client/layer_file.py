"""The safetensors files that carry one layer: the body of a request to prune it, and the body of the answer.

The files are written and read here and not by the library `safetensors`, because that library copies all
tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from pare_llm.client.connection_pool import Body
from pare_llm.client.report import Report, parse_report
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import BYTES_PER_ELEMENT, Array, Tensor, WireTensor, to_wire

# The bytes of the field in front of the header that holds the length of the header.
_LENGTH_BYTES = 8

# The tensors of an answer that make up its quantised weight.
_QUANTIZED_NAMES = ("codes", "scales", "zeros")


@dataclass(frozen=True)
class QuantizedWeight(Generic[Array]):
    """The codes and the grids of a rounded weight: weight = (codes - zeros) · scales on the kept entries.

    Attributes:
        codes: (out, in) uint8.
        scales: (out, groups) float32, one grid per row and group of columns.
        zeros: (out, groups) float32, the code that stands for 0.
    """

    codes: Array
    scales: Array
    zeros: Array


@dataclass(frozen=True)
class PrunedLayer(Generic[Array]):
    """A pruned layer with `out` output and `in` input features.

    The tensors are of the same library, and on the same device, as the weight that was sent.

    Attributes:
        weight: (out, in), in the dtype that the query asked for.
        mask: (out, in) bool, True where the weight was not pruned.
        quantized: the codes and the grids of the weight, if the query has `bits`.
        report: the report of the host.
    """

    weight: Array
    mask: Array
    quantized: QuantizedWeight[Array] | None
    report: Report


def encode_parts(tensors: Mapping[str, Tensor | None]) -> Body:
    """Encode `tensors` as a safetensors file, without copying their data. Tensors that are None are left out.

    Returns:
        the parts of the file in order: first the header, then the data of each tensor.

    Raises:
        TypeError: if a tensor has a dtype that the HTTP contract does not know.
    """
    wired = {name: to_wire(name, tensor) for name, tensor in tensors.items() if tensor is not None}
    header: dict[str, object] = {}
    begin = 0
    for name, tensor in wired.items():
        end = begin + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (begin, end)}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    # The header is padded with spaces, so that the data begins at a multiple of 8 bytes.
    padded = text.ljust(math.ceil(len(text) / 8) * 8)
    return [
        len(padded).to_bytes(_LENGTH_BYTES, "little") + padded,
        *(tensor.data for tensor in wired.values()),
    ]


def decode_answer(body: bytearray, library: TensorLibrary[Array]) -> PrunedLayer[Array]:
    """Decode the answer to a request that pruned a layer.

    Raises:
        ValueError: if `body` is not a safetensors file, if the weight, the mask or the report is missing, or
            if the answer has some of the tensors `codes`, `scales` and `zeros`, but not all of them.
    """
    tensors, metadata = decode(body)
    weight = _require(tensors, "weight")
    quantized = None
    if any(name in tensors for name in _QUANTIZED_NAMES):
        quantized = QuantizedWeight(*(library.make(_require(tensors, name)) for name in _QUANTIZED_NAMES))
    return PrunedLayer(
        weight=library.make(weight),
        mask=library.unpack_mask(_require(tensors, "mask"), weight.shape[-1]),
        quantized=quantized,
        report=parse_report(metadata.get("report")),
    )


def decode(file: bytearray) -> tuple[dict[str, WireTensor], dict[str, str]]:
    """Read a safetensors file from memory. The tensors share the memory of `file`.

    Returns:
        the tensors and the metadata by their names.

    Raises:
        ValueError: if the file breaks a rule of the format or ends too early.
    """
    data_begin = _LENGTH_BYTES + int.from_bytes(file[:_LENGTH_BYTES], "little")
    if len(file) < max(data_begin, _LENGTH_BYTES):
        raise ValueError(f"safetensors file: needs {data_begin} bytes for its header, but has {len(file)}")
    data = memoryview(file)[data_begin:]
    try:
        header: dict[str, Any] = json.loads(file[_LENGTH_BYTES:data_begin])
        metadata: dict[str, str] = header.pop("__metadata__", {})
        return {name: _view(name, entry, data) for name, entry in header.items()}, metadata
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("safetensors file: its header does not describe tensors") from error


def _view(name: str, entry: Mapping[str, Any], data: memoryview) -> WireTensor:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    needed = math.prod(shape) * BYTES_PER_ELEMENT[dtype]
    if not 0 <= begin <= end <= len(data) or end - begin != needed:
        raise ValueError(
            f"safetensors file: tensor {name} needs {needed} bytes, but its range is {begin} to {end} "
            f"of {len(data)}"
        )
    return WireTensor(dtype, shape, data[begin:end])


def _require(tensors: Mapping[str, WireTensor], name: str) -> WireTensor:
    if name not in tensors:
        raise ValueError(f'answer of /v1/layers: tensor "{name}" is missing')
    return tensors[name]
