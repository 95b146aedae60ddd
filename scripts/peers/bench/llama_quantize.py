"""Rounds a GGUF file by llama_model_quantize, the function of llama.cpp behind its program llama-quantize.

The program reads one request per line of standard input, which is a JSON object:

    {"libraries": FOLDER of libllama, "source": FILE in F32, "type": NAME such as "Q4_K", "imatrix": FILE, "out": FILE}

Without "imatrix", llama.cpp weighs the errors of all weights by the weights alone. All layers of the blocks get the type,
and the table of tokens and the head get Q8_0, as in the files of Pare. The mixtures of llama.cpp, such as Q4_K_M, would give
some layers another type. The program answers each request with {}, or with {"error": the traceback of the exception}.
"""

import ctypes
import pathlib

import gguf
import numpy as np
from answer_requests import answer_requests

# The numbers of the types of files, by the type of their tensors (enum llama_ftype).
FILE_TYPES = {"Q4_0": 2, "Q8_0": 7, "Q5_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 14, "Q6_K": 18}

# The default of the last of the parameters in this version of llama.cpp.
DEFAULT_BUFFER_SIZE = 8 << 30


# llama.cpp logs a line for each tensor.
IGNORE_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)


class ImatrixData(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("threads", "file_type", "output_type", "embedding_type")),
        *(
            (name, ctypes.c_bool)
            for name in ("allow_requantize", "quantize_output", "only_copy", "pure", "keep_split", "dry_run")
        ),
        ("imatrix", ctypes.POINTER(ImatrixData)),
        *((name, ctypes.c_void_p) for name in ("kv_overrides", "type_overrides", "prune_layers")),
        ("buffer_size", ctypes.c_size_t),
    ]


def answer(request: dict) -> dict:
    llama = load_library(pathlib.Path(request["libraries"]))
    parameters = llama.llama_model_quantize_default_params()
    assert parameters.buffer_size == DEFAULT_BUFFER_SIZE, "another version of llama.cpp has other parameters"
    parameters.threads = 1
    parameters.file_type = FILE_TYPES[request["type"]]
    parameters.output_type = parameters.embedding_type = gguf.GGMLQuantizationType.Q8_0
    parameters.pure = True
    if "imatrix" in request:
        means = read_imatrix(request["imatrix"])
        entries = [
            ImatrixData(name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size)
            for name, values in means.items()
        ]
        parameters.imatrix = (ImatrixData * (len(entries) + 1))(*entries, ImatrixData(None, None, 0))
    files = (request[key].encode() for key in ("source", "out"))
    code = llama.llama_model_quantize(*files, ctypes.byref(parameters))
    if code != 0:
        raise RuntimeError(f"llama_model_quantize ended with code {code}")
    return {}


def load_library(folder: pathlib.Path) -> ctypes.CDLL:
    for name in ("libggml-base", "libggml", "libllama"):
        (path,) = (path for path in folder.iterdir() if path.name.split(".")[0] == name)
        library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    library.llama_model_quantize_default_params.restype = Parameters
    library.llama_log_set(IGNORE_LOG, None)
    return library


def read_imatrix(path: str) -> dict[str, np.ndarray]:
    """Reads the mean of the squares of each input, by the names of the weights."""
    tensors = {tensor.name: tensor.data.flatten() for tensor in gguf.GGUFReader(path).tensors}
    return {
        name.removesuffix(".in_sum2"): np.ascontiguousarray(
            sums / tensors[name.replace(".in_sum2", ".counts")], dtype=np.float32
        )
        for name, sums in tensors.items()
        if name.endswith(".in_sum2")
    }


if __name__ == "__main__":
    answer_requests(answer)
