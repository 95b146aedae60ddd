"""Loads a checkpoint in the format of MLX with mlx-lm on the CPU, and compares it with a dense checkpoint.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "dense": FOLDER, "tokens": [[id, ...], ...]}

It answers each request with one line, which is a JSON object as well:

    {"layers": {NAME: {"differences": the number of weights that differ from those of the dense checkpoint,
                       "zeros": the number of weights that are 0}},
     "max_logit_difference": the largest absolute difference of the logits of the two models,
     "largest_logit": the largest absolute logit of the dense model}

The weights are computed in float32, in which code·scale + bias is exact, and are rounded once. If the comparison
fails, the answer is instead:

    {"error": the traceback of the exception}
"""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from answer_requests import answer_requests
from mlx_lm.utils import load_model


def compare(request: dict) -> dict:
    (loaded, _), (dense, _) = (load_model(Path(request[name])) for name in ("folder", "dense"))
    weights = {name: module.weight for name, module in dense.named_modules() if isinstance(module, nn.Linear)}
    layers = {}
    for name, module in loaded.named_modules():
        if isinstance(module, nn.QuantizedLinear):
            grids = (module.scales.astype(mx.float32), module.biases.astype(mx.float32))
            weight = mx.dequantize(module.weight, *grids, module.group_size, module.bits)
            layers[f"{name}.weight"] = {
                "differences": int((weight.astype(weights[name].dtype) != weights[name]).sum()),
                "zeros": int((weight == 0).sum()),
            }
    logits, expected = (model(mx.array(request["tokens"])).astype(mx.float32) for model in (loaded, dense))
    return {
        "layers": layers,
        "max_logit_difference": float(mx.abs(logits - expected).max()),
        "largest_logit": float(mx.abs(expected).max()),
    }


if __name__ == "__main__":
    answer_requests(compare)
