"""Compares a shrunk checkpoint with the dense model whose removed neurons are masked.

The program reads one request per line of standard input, which is a JSON object:

    {"dense": FOLDER, "shrunk": FOLDER, "dropped": [BLOCK, ...], "windows": [[id, ...], ...]}

It loads both models with transformers in float64, drops the blocks from the dense one, finds the neurons that
remain by the rows of the layers that write them, and gives the dense model the weights of the shrunk one in
their columns and 0 in all others. It answers with one line:

    {"neurons": [NUMBER of each block, ...], "difference": the largest difference of two logits,
     "largest": the largest logit, "change": the largest difference from the logits of the dense model as it was}
"""

import torch
import transformers
from answer_requests import answer_requests


@torch.inference_mode()
def handle(request: dict) -> dict:
    windows = torch.tensor(request["windows"])
    dense, shrunk = load(request["dense"]), load(request["shrunk"])
    before = dense(windows, use_cache=False).logits
    decoder = getattr(dense.model, "decoder", dense.model)
    remaining = [block for i, block in enumerate(decoder.layers) if i not in request["dropped"]]
    decoder.layers = torch.nn.ModuleList(remaining)
    dense.config.num_hidden_layers = len(remaining)
    small_blocks = getattr(shrunk.model, "decoder", shrunk.model).layers
    neurons = [mask(block, small) for block, small in zip(remaining, small_blocks, strict=True)]
    expected, logits = dense(windows, use_cache=False).logits, shrunk(windows, use_cache=False).logits
    return {
        "neurons": neurons,
        "difference": float((logits - expected).abs().max()),
        "largest": float(expected.abs().max()),
        "change": float((logits - before).abs().max()),
    }


def load(folder: str) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def mask(block: torch.nn.Module, small: torch.nn.Module) -> int:
    """Give the block the weights of the small one. Return the number of neurons that remain."""
    if hasattr(block, "fc2"):
        reader, writer = block.fc2, block.fc1
        small_reader, small_writer = small.fc2, small.fc1
    else:
        reader, writer = block.mlp.down_proj, block.mlp.gate_proj
        small_reader, small_writer = small.mlp.down_proj, small.mlp.gate_proj
    rows = {tuple(row): index for index, row in enumerate(writer.weight.tolist())}
    kept = [rows[tuple(row)] for row in small_writer.weight.tolist()]
    assert kept == sorted(set(kept)), "the neurons that remain are in another order"
    reader.weight.zero_()
    reader.weight[:, kept] = small_reader.weight
    return len(kept)


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(handle)
