"""Computes the gradients of one block of a model with PyTorch's autograd, in float64.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "windows": [[id, ...], ...], "block": NAME}

The block with this name receives the hidden states x of the windows, rounded to float32. Its loss is the mean over
all tokens of |y - 2x|²/|2x|², where y is its output. The answer is one line:

    {"inputs": (windows · tokens · hidden) numbers, "gradients": {NAME: numbers in row-major order}}

The names of the parameters are those in the block. If a request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import torch
import transformers
from answer_requests import answer_requests


def handle(request: dict) -> dict:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        request["folder"], dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    block, seen = model.get_submodule(request["block"]), {}

    def before(_, args):
        seen["inputs"] = args[0].detach().float().double()
        return seen["inputs"], *args[1:]

    def after(_, args, output):
        seen["outputs"] = output[0] if isinstance(output, tuple) else output

    block.register_forward_pre_hook(before)
    block.register_forward_hook(after)
    model(torch.tensor(request["windows"]), use_cache=False)
    target = 2 * seen["inputs"]
    errors = (seen["outputs"] - target).square().sum(-1) / target.square().sum(-1)
    errors.mean().backward()
    gradients = {name: parameter.grad.flatten().tolist() for name, parameter in block.named_parameters()}
    return {"inputs": seen["inputs"].flatten().tolist(), "gradients": gradients}


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(handle)
