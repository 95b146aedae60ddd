"""Measures the perplexity of checkpoints with transformers, in f32.

    python transformers_perplexity.py WINDOWS.json FOLDER...

WINDOWS.json holds a list of windows, which are lists of token ids of equal length. The model predicts each token of a window from
the earlier tokens of that window, except for the first token. The perplexity is exp(mean of -log p), where p is the probability of
the right token. The last line of standard output is a JSON list of the perplexities, in the order of the folders.
"""

import json
import math
import pathlib
import sys

import torch
import transformers
from torch.nn.functional import cross_entropy

BATCH = 8


@torch.inference_mode()
def perplexity(folder: str, windows: torch.Tensor) -> float:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total = 0.0
    for batch in windows.split(BATCH):
        logits = model(batch).logits[:, :-1]
        losses = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        total += losses.double().sum().item()
    return math.exp(total / windows[:, 1:].numel())


if __name__ == "__main__":
    tokens = torch.tensor(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    print(json.dumps([perplexity(folder, tokens) for folder in sys.argv[2:]]))
