"""Reads importance matrices by the library gguf.

The program reads one request per line of standard input, which is a JSON object:

    {"file": FILE}

It answers each request with one line:

    {"fields": {KEY: VALUE}, "tensors": {NAME: [NUMBER, ...]}}

If the file cannot be read, the answer is instead {"error": the traceback of the exception}.
"""

import gguf
from answer_requests import answer_requests


def read(request: dict) -> dict:
    reader = gguf.GGUFReader(request["file"])
    return {
        "fields": {key: field.contents() for key, field in reader.fields.items()},
        "tensors": {tensor.name: tensor.data.flatten().tolist() for tensor in reader.tensors},
    }


if __name__ == "__main__":
    answer_requests(read)
