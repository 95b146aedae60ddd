"""Reads packed checkpoints with the Python package of Pare, and compares them with dense checkpoints.

The program reads one request per line of standard input, which is a JSON object:

    {"packed": FOLDER, "dense": FOLDER}

It answers with one line:

    {"tensors": the number of tensors of the dense checkpoint, read by the safetensors library,
     "different": [NAME, ...], "zeros": the number of entries of the packed checkpoint that are 0}

"different" has the names of the tensors that one checkpoint lacks, or whose dtypes, shapes or bits differ. If a
request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import pathlib
import sys

import torch
from answer_requests import answer_requests
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "src/python"))

import pare_llm


def compare(packed: str, dense: str) -> dict:
    expected: dict[str, torch.Tensor] = {}
    for file in pathlib.Path(dense).glob("*.safetensors"):
        expected |= load_file(file)
    with pare_llm.load(packed) as tensors:
        names = set(tensors) ^ set(expected)
        names |= {name for name in set(tensors) & set(expected) if not same_bits(tensors[name], expected[name])}
        zeros = sum(int((tensor == 0).sum()) for tensor in tensors.values())
    return {"tensors": len(expected), "different": sorted(names), "zeros": zeros}


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(as_bytes(a), as_bytes(b))


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


if __name__ == "__main__":
    answer_requests(lambda request: compare(**request))
