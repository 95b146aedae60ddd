"""Compares a shrunk checkpoint with the dense model whose removed neurons, heads and experts are masked.

The program reads one request per line of standard input, which is a JSON object:

    {"dense": FOLDER, "shrunk": FOLDER, "dropped": [BLOCK, ...], "windows": [[id, ...], ...]}

It loads both models with transformers in float64, and drops the blocks from the dense one. It finds the
neurons and heads that remain by the rows of the layers that write them, and gives the dense model the weights
of the shrunk one in their columns and 0 in all others. It finds the experts that remain by the rows of the
routers, and sets the scores of all others to −∞. It answers with one line:

    {"kept": [{"neurons": NUMBER, "columns": the inputs of the last layer of attention,
     "experts": [EXPERT, ...]} for each block], "difference": the largest difference of two logits,
     "largest": the largest logit, "change": the largest difference from the logits of the dense model as it
     was, "scores": [[NUMBER of each expert, ...] for each block]}

The scores are those of REAP (arXiv 2510.13999) for the windows. A block has only the members that apply
to it.
"""

from contextlib import ExitStack

import torch
import transformers
from answer_requests import answer_requests
from torch.overrides import TorchFunctionMode


@torch.inference_mode()
def handle(request: dict) -> dict:
    windows = torch.tensor(request["windows"])
    dense, shrunk = load(request["dense"]), load(request["shrunk"])
    before = dense(windows, use_cache=False).logits
    decoder, name = blocks_of(dense)
    remaining = [block for i, block in enumerate(getattr(decoder, name)) if i not in request["dropped"]]
    setattr(decoder, name, torch.nn.ModuleList(remaining))
    dense.config.num_hidden_layers = len(remaining)
    scores = score_experts(dense, remaining, windows)
    masks = MaskedRouters()
    pairs = zip(remaining, getattr(*blocks_of(shrunk)), strict=True)
    kept = [mask(block, small, masks) for block, small in pairs]
    with masks:
        expected = dense(windows, use_cache=False).logits
    logits = shrunk(windows, use_cache=False).logits
    return {
        "kept": kept,
        "difference": float((logits - expected).abs().max()),
        "largest": float(expected.abs().max()),
        "change": float((logits - before).abs().max()),
        "scores": scores,
    }


def load(folder: str) -> transformers.PreTrainedModel:
    # The default implementation of experts has no kernel for float64.
    options = {"dtype": torch.float64, "experts_implementation": "eager"}
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def blocks_of(model: transformers.PreTrainedModel) -> tuple[torch.nn.Module, str]:
    """Return the module that has the blocks, and the name of their list."""
    decoder = getattr(model.base_model, "decoder", model.base_model)
    return decoder, "layers" if hasattr(decoder, "layers") else "h"


class MaskedRouters(TorchFunctionMode):
    """Sets the scores of removed experts to −∞ in the routers' products."""

    def __init__(self) -> None:
        super().__init__()
        self.removed: dict[int, list[int]] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.nn.functional.linear and id(args[1]) in self.removed:
            result[:, self.removed[id(args[1])]] = -torch.inf
        return result


# The layers of a block that read and write the neurons. A writer may have the gates and then the values.
NEURONS = [
    ("fc2", "fc1"),
    ("mlp.fc2", "mlp.fc1"),
    ("mlp.c_proj", "mlp.c_fc"),
    ("mlp.dense_4h_to_h", "mlp.dense_h_to_4h"),
    ("mlp.down_proj", "mlp.gate_proj"),
    ("mlp.down_proj", "mlp.gate_up_proj"),
]


def mask(block: torch.nn.Module, small: torch.nn.Module, routers: MaskedRouters) -> dict:
    """Give the block the weights of the small one. Return what remains."""
    kept = {}
    layers, small_layers = dict(block.named_modules()), dict(small.named_modules())
    if "self_attn.o_proj" in layers:
        reader, writer = "self_attn.o_proj", "self_attn.q_proj"
        if writer in layers:
            kept["columns"] = mask_columns(
                layers[reader], small_layers[reader], layers[writer], small_layers[writer]
            )
    for reader, writer in NEURONS:
        if reader in layers and writer in layers:
            kept["neurons"] = mask_columns(
                layers[reader], small_layers[reader], layers[writer], small_layers[writer]
            )
    if hasattr(getattr(block, "mlp", None), "experts"):
        kept["experts"] = kept_rows(block.mlp.gate, small.mlp.gate)
        experts = range(block.mlp.gate.weight.shape[0])
        routers.removed[id(block.mlp.gate.weight)] = [e for e in experts if e not in kept["experts"]]
    return kept


def mask_columns(reader, small_reader, writer, small_writer) -> int:
    columns = [row for row in kept_rows(writer, small_writer) if row < reader.weight.shape[1]]
    reader.weight.zero_()
    reader.weight[:, columns] = small_reader.weight
    return len(columns)


def kept_rows(layer: torch.nn.Module, small: torch.nn.Module) -> list[int]:
    rows = {tuple(row): index for index, row in enumerate(layer.weight.tolist())}
    kept = [rows[tuple(row)] for row in small.weight.tolist()]
    assert kept == sorted(set(kept)), "the rows that remain are in another order"
    return kept


def score_experts(model: torch.nn.Module, blocks: list, windows: torch.Tensor) -> list[list[float]]:
    """Return the mean of g·‖f(x)‖ over the tokens x of each expert, where g is the factor of its output."""
    scores = []

    def observe(experts, args):
        states, chosen, factors = args
        means = []
        for expert in range(experts.num_experts):
            tokens, places = (chosen == expert).nonzero(as_tuple=True)
            gate, up = (states[tokens] @ experts.gate_up_proj[expert].T).chunk(2, dim=-1)
            outputs = (experts.act_fn(gate) * up) @ experts.down_proj[expert].T
            norms = outputs.norm(dim=-1) * factors[tokens, places]
            means.append(float(norms.mean()) if len(tokens) else 0.0)
        scores.append(means)

    with ExitStack() as hooks:
        for block in blocks:
            if hasattr(block, "mlp") and hasattr(block.mlp, "experts"):
                handle = block.mlp.experts.register_forward_pre_hook(observe)
                hooks.callback(handle.remove)
        model(windows, use_cache=False)
    return scores


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(handle)
