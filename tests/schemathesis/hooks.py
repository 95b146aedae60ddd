"""Gives Schemathesis bodies of the media type of layers, which a JSON schema cannot describe.

A body is a layer of 2 x 8 weights with its statistics. Its bytes are valid, but they may contradict the
parameters of the request.
"""

import json
import struct

import schemathesis
from hypothesis import strategies as st

ROWS, COLS = 2, 8


def safetensors(tensors: dict[str, tuple[list[int], list[float]]]) -> bytes:
    """Encode f32 tensors, given as their shape and values."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        chunk = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(chunk)]}
        data += chunk
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


IDENTITY = [float(row == col) for row in range(COLS) for col in range(COLS)]
HESSIAN = {"hessian": ([COLS, COLS], IDENTITY)}
numbers = st.lists(st.floats(-100, 100, width=32), min_size=ROWS * COLS, max_size=ROWS * COLS)
layers = numbers.map(lambda values: safetensors({"weight": ([ROWS, COLS], values), **HESSIAN}))
bodies = st.one_of(layers, st.just(safetensors(HESSIAN)), st.binary(max_size=64))

for media_type in ("application/vnd.safetensors", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, bodies)
