"""Compresses a model with llm-compressor, and writes the result as a dense checkpoint in the dtype of the original.

The program prints one JSON object as the last line of its standard output:

    {"seconds": {"import", "load", "compress", "write"}, "versions": {LIBRARY: VERSION},
     "changed_others": the names of all weights outside the blocks that llm-compressor changed}

"compress" is the time of the call of `oneshot`, which calibrates and solves the layers.

The checkpoint holds the weights that the compressed model computes with. If the recipe quantises, each weight is rounded to its
grid, so it has the value that a packed checkpoint would store. The weights outside the blocks are copied from the original.
Otherwise a recipe that fails to exclude `lm_head` would also prune the embedding, which can share its weights.

    python llm_compressor.py MODEL WINDOWS.json OUT RECIPE DTYPE

WINDOWS.json holds a list of calibration windows. Each window is a list of token ids. RECIPE is a comma-separated list of
modifiers, which are applied one after the other:

    sparsegpt    prunes 50 % of the weights by SparseGPT
    wanda        prunes 50 % of the weights by Wanda
    gptq         quantises by GPTQ, in the stored order of the columns
    gptq-static  quantises by GPTQ, with the columns ordered by their activations (the default of llm-compressor)
    awq          scales the channels by AWQ, and rounds to nearest

The last three may be followed by `:BITS` and `:GROUP_SIZE`. By default they quantise to 4 bits, with one grid per output channel.
All grids are asymmetric. DTYPE is float32 or bfloat16. llm-compressor loads the model in it and computes in it, except for the
statistics and the solvers, which are float32.
"""

import json
import pathlib
import platform
import re
import shutil
import sys
import time

started = time.perf_counter()

import compressed_tensors
import llmcompressor
import torch
import transformers
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from llmcompressor import oneshot
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from safetensors.torch import load_file, save_file

if not torch.accelerator.is_available():
    # AWQModifier pins memory for faster copies to an accelerator, and fails on a machine without one.
    IntermediatesCache.pin_memory = lambda *_: None

# The head must be excluded by a regular expression, because the pruning modifiers compare a plain `lm_head` with `lm_head.`.
LAYERS = {"targets": ["Linear"], "ignore": ["re:.*lm_head"]}
SPARSITY = 0.5

# The names of weights in blocks have the number of the block.
IN_BLOCK = re.compile(r"\.\d+\.")


def quantization(bits: str = "4", group_size: str | None = None) -> dict[str, object]:
    strategy = {"strategy": "group", "group_size": int(group_size)} if group_size else {"strategy": "channel"}
    weights = QuantizationArgs(num_bits=int(bits), symmetric=False, **strategy)
    scheme = QuantizationScheme(targets=LAYERS["targets"], weights=weights)
    return {"config_groups": {"layers": scheme}, "ignore": LAYERS["ignore"]}


MODIFIERS = {
    "sparsegpt": lambda: [SparseGPTModifier(sparsity=SPARSITY, **LAYERS)],
    "wanda": lambda: [WandaPruningModifier(sparsity=SPARSITY, **LAYERS)],
    "gptq": lambda *grid: [GPTQModifier(**quantization(*grid), actorder=None)],
    "gptq-static": lambda *grid: [GPTQModifier(**quantization(*grid), actorder="static")],
    "awq": lambda *grid: [AWQModifier(), QuantizationModifier(**quantization(*grid))],
}


def modifiers(recipe: str) -> list[Modifier]:
    parsed = (modifier.split(":") for modifier in recipe.split(","))
    return [modifier for name, *grid in parsed for modifier in MODIFIERS[name](*grid)]


def main() -> None:
    model_folder, windows_file, out, recipe, dtype_name = sys.argv[1:]
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype_name]
    folder = pathlib.Path(model_folder)
    seconds = {"import": time.perf_counter() - started}

    start = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    windows = torch.tensor(json.loads(pathlib.Path(windows_file).read_text()))
    samples = [{"input_ids": window, "attention_mask": torch.ones_like(window)} for window in windows]
    original = load_tensors(folder)
    seconds["load"] = time.perf_counter() - start

    start = time.perf_counter()
    oneshot(
        model=model,
        recipe=modifiers(recipe),
        dataset=torch.utils.data.DataLoader(samples, batch_size=1),
    )
    seconds["compress"] = time.perf_counter() - start

    start = time.perf_counter()
    state = model.state_dict() | {f"{name}.weight": effective_weight(layer) for name, layer in model.named_modules() if is_linear(layer)}
    changed = []
    for name in original.keys() & state.keys():
        if IN_BLOCK.search(name):
            original[name] = state[name].to(original[name].dtype)
        elif not torch.equal(original[name].to(dtype).float(), state[name].float()):
            changed.append(name)
    write_checkpoint(folder, pathlib.Path(out), original)
    seconds["write"] = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "versions": versions(), "changed_others": changed}), flush=True)


def is_linear(layer: torch.nn.Module) -> bool:
    return isinstance(layer, torch.nn.Linear)


def effective_weight(layer: torch.nn.Linear) -> torch.Tensor:
    """Returns the weight that the layer multiplies with. If the layer is quantised, the weight is rounded to the grid."""
    scheme = getattr(layer, "quantization_scheme", None)
    if scheme is None:
        return layer.weight.data
    return fake_quantize(layer.weight.data, layer.weight_scale, layer.weight_zero_point, scheme.weights)


def load_tensors(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def write_checkpoint(model: pathlib.Path, out: pathlib.Path, tensors: dict[str, torch.Tensor]) -> None:
    out.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, out / name)


def versions() -> dict[str, str]:
    libraries = (llmcompressor, compressed_tensors, transformers, torch)
    return {"Python": platform.python_version()} | {library.__name__: library.__version__ for library in libraries}


if __name__ == "__main__":
    main()
