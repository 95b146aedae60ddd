"""Makes random models with transformers, and computes the logits and the perplexity of models in float64.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER, "windows": [[id, ...], ...], "config": {...}, "dtype": NAME, "saved_as": FORM,
     "statistics": WHETHER, "sensitivity": WHETHER}

If "config" is present, it is the configuration of a model, which the program makes and saves in the folder.
All parameters are random, in particular norms and biases, whose values after an ordinary initialisation would
hide errors. The values depend only on the names and shapes, so models with different settings but equal shapes
have equal parameters. "dtype" is the dtype of the saved parameters, float32 by default. "saved_as" is "shards" (several
files), "headless" (without the head and without the prefix of the names), "pickle" (a file of torch.save),
"second head" (with another weight of the head although config.json ties it) or "fused" (with one tensor for all
experts of a block). The default is one safetensors file. The windows have equal lengths.

The program then loads the model from the folder, and answers with one line:

    {"logits": (windows, tokens, vocabulary), "perplexity": NUMBER,
     "insensitive": [NAME, ...], "versions": {LIBRARY: VERSION},
     "statistics": {LAYER: {"tokens": NUMBER, "hessian": [NUMBER, ...]}}}

"statistics" is only present if it was requested. It has, for each linear layer in the blocks, the number of its
inputs x, and the upper triangle of the sum of x·xᵀ, packed row by row. Of the layers that share one input, only
the first is present.

"insensitive" has the names of the parameters that do not matter for the logits. It is only present if the request
has "sensitivity", and is measured by changing one parameter at a time. If a request fails, the answer is instead:

    {"error": the traceback of the exception}
"""

import math
import pathlib
import re
import zlib

import torch
import transformers
from answer_requests import answer_requests
from layer_inputs import observe_inputs
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

# A parameter is insensitive if changing it changes the logits by less than this share of the largest logit.
SENSITIVITY = 1e-4


class KeepFloat64(TorchFunctionMode):
    """Replaces conversions of float64 tensors to float32 by copies. Some models convert the inputs of norms, routers and
    states, whatever their dtype is, and then need the strides of a copy."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64:
            if function is torch.Tensor.float:
                return args[0].clone()
            args = [torch.float64 if value is torch.float32 else value for value in args]
            if kwargs.get("dtype") is torch.float32:
                kwargs = {**kwargs, "dtype": torch.float64}
        return function(*args, **kwargs)


@torch.inference_mode()
def handle(request: dict) -> dict:
    folder, windows = request["folder"], torch.tensor(request["windows"])
    if "config" in request:
        model = random_model(request["config"]).to(getattr(torch, request.get("dtype", "float32")))
        save(model, folder, request.get("saved_as"))
    config = transformers.AutoConfig.from_pretrained(folder)
    model = class_of(config).from_pretrained(
        folder,
        dtype=torch.float64,
        experts_implementation="eager",  # the default has no kernel for float64
    ).eval().double()  # some classes load routers in float32
    with observe_inputs(model) as inputs:
        logits = logits_of(model, windows)
    losses = cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten(), reduction="mean")
    answer = {
        "logits": logits.tolist(),
        "perplexity": math.exp(losses),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    if request.get("sensitivity"):
        answer["insensitive"] = insensitive(model, windows, logits)
    if request.get("statistics"):
        answer["statistics"] = {name: statistics_of(x) for name, x in inputs.items()}
    return answer


def logits_of(model: torch.nn.Module, windows: torch.Tensor) -> torch.Tensor:
    text_part = getattr(model, "language_model", None)
    # The multimodal class of LLaMA 4 in transformers 5.24 fails without an image. Its text part has a head.
    with KeepFloat64():
        return (text_part if hasattr(text_part, "lm_head") else model)(windows, use_cache=False).logits.double()


def statistics_of(x: torch.Tensor) -> dict:
    hessian = x.T @ x
    upper = torch.triu(torch.ones_like(hessian, dtype=torch.bool))
    return {"tokens": x.shape[0], "hessian": hessian[upper].tolist()}


def class_of(config: transformers.PretrainedConfig) -> type:
    if hasattr(config, "vision_config"):
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def random_model(settings: dict) -> transformers.PreTrainedModel:
    config = transformers.AutoConfig.for_model(**settings)
    model = class_of(config).from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.copy_(random_values(name, parameter.shape))
    for name, buffer in [*model.named_buffers(), *model.named_parameters()]:
        # These parts of the checkpoint are not trained.
        if name.endswith(("e_score_correction_bias", "expert_bias")):
            buffer.copy_(random_values(name, buffer.shape) / 4)
        elif name.endswith("layer_scalar"):
            buffer.copy_(random_values(name, buffer.shape))
    return model


def save(model: transformers.PreTrainedModel, folder: str, form: str | None) -> None:
    if form == "headless":
        model.base_model.save_pretrained(folder)
    elif form == "pickle":
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), pathlib.Path(folder, "pytorch_model.bin"))
    else:
        size = "10KB" if form == "shards" else "1GB"
        model.save_pretrained(folder, max_shard_size=size, save_original_format=form != "fused")
    if form == "second head":
        file = pathlib.Path(folder, "model.safetensors")
        head = random_values("second head", model.lm_head.weight.shape)
        save_file(load_file(file) | {"lm_head.weight": head}, file, {"format": "pt"})


def random_values(name: str, shape: torch.Size) -> torch.Tensor:
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    normal = torch.randn(shape, generator=random)
    if len(shape) >= 2:  # three dimensions are the weights of several experts
        is_table = "embed" in name  # of tokens or positions, or a head that shares the table of tokens
        return normal / 2 if is_table else normal * 1.5 / math.sqrt(shape[-1])
    if name.endswith("bias"):
        return normal / 2
    return normal.sign() * (0.5 + torch.rand(shape, generator=random))  # the weight of a norm


def insensitive(model: torch.nn.Module, windows: torch.Tensor, logits: torch.Tensor) -> list[str]:
    names = []
    for name, parameter in model.named_parameters():
        if re.search("visual|vision|projector", name):  # no window has an image
            continue
        before = parameter.clone()
        parameter.add_(0.1 * random_values(f"change of {name}", parameter.shape).double())
        change = (logits_of(model, windows) - logits).abs().max()
        if change < SENSITIVITY * logits.abs().max():
            names.append(name)
        parameter.copy_(before)
    return names


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(handle)
