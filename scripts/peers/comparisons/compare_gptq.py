"""Loads a checkpoint in the layout gptq with GPTQModel on the CPU, and compares it with a dense checkpoint.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "dense": FOLDER, "tokens": [[id, ...], ...]}

It answers each request with one line, which is a JSON object as well:

    {"layers": {NAME: the number of weights that differ from those of the dense checkpoint},
     "max_logit_difference": the largest absolute difference of the logits of the two models,
     "largest_logit": the largest absolute logit of the dense model, "versions": {LIBRARY: VERSION}}

The linear layers multiply in the dtype of the dense checkpoint. If the comparison fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import contextlib
import sys

import torch
import transformers
from answer_requests import answer_requests

with contextlib.redirect_stdout(sys.stderr):  # the library prints while it is imported
    import gptqmodel
    from gptqmodel import BACKEND, GPTQModel


@torch.inference_mode()
def compare(request: dict) -> dict:
    tokens = torch.tensor(request["tokens"])
    dense = transformers.AutoModelForCausalLM.from_pretrained(request["dense"], dtype="auto").eval()
    loaded = GPTQModel.load(request["folder"], backend=BACKEND.TORCH, device="cpu", dtype=dense.dtype)
    weights = dict(dense.named_parameters())
    layers = {}
    for name, module in loaded.model.named_modules():
        if not hasattr(module, "qweight"):
            continue
        weight = type(module).dequantize_weight(module).T  # the attribute of the module is compiled
        layers[f"{name}.weight"] = int((weight != weights[f"{name}.weight"]).sum())
    logits, expected = loaded.model(tokens).logits, dense(tokens).logits
    return {
        "layers": layers,
        "max_logit_difference": float((logits - expected).abs().max()),
        "largest_logit": float(expected.abs().max()),
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "gptqmodel": gptqmodel.__version__,
        },
    }


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(compare)
