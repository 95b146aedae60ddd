"""Computes the gradients of one block of a model with PyTorch's autograd, in float64.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "windows": [[id, ...], ...], "block": NAME}

The block with this name receives the hidden states x of the windows, rounded to float32. Its loss is the mean over
all tokens of |y - 2x|²/|2x|², where y is its output. The answer is one line:

    {"inputs": (windows · tokens · hidden) numbers, "token_inputs": numbers, "gradients": {NAME: numbers in row-major order}}

The inputs of the tokens are also rounded to float32. They are empty if the model has none. The names of the parameters are
those in the block. If a request fails, the answer is instead:

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
        if not hasattr(block, "per_layer_input_gate"):
            return seen["inputs"], *args[1:]
        seen["token_inputs"] = args[1].detach().float().double()
        return seen["inputs"], seen["token_inputs"], *args[2:]

    def after(_, args, output):
        seen["outputs"] = output[0] if isinstance(output, tuple) else output

    block.register_forward_pre_hook(before)
    block.register_forward_hook(after)
    model(torch.tensor(request["windows"]), use_cache=False)
    target = 2 * seen["inputs"]
    errors = (seen["outputs"] - target).square().sum(-1) / target.square().sum(-1)
    errors.mean().backward()
    gradients = {name: parameter.grad.flatten().tolist() for name, parameter in block.named_parameters()}
    inputs, token_inputs = (seen.get(name, torch.empty(0)).flatten().tolist() for name in ("inputs", "token_inputs"))
    return {"inputs": inputs, "token_inputs": token_inputs, "gradients": gradients}


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(handle)
