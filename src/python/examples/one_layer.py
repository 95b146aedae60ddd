"""Prunes one linear layer: half of its weights become zero, and its outputs change as little as possible.

    python one_layer.py http://127.0.0.1:8000

`deno task serve` starts a host.
"""

import sys

import torch
from pare_llm import Pare

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
torch.manual_seed(0)
layer = torch.nn.Linear(96, 64)
# Real inputs of a layer have columns of very different sizes, which pruning makes use of.
inputs = torch.randn(1024, 96) * torch.logspace(0, -2, 96)

with torch.no_grad(), Pare(url) as pare:
    before = layer(inputs)
    pruned = pare.prune_layer(layer.weight, inputs=inputs, method="alps", sparsity=0.5)
    layer.weight.copy_(pruned.weight)
    error = (layer(inputs) - before).norm() / before.norm()

zeros = int((layer.weight == 0).sum())
print(f"{zeros} of {layer.weight.numel()} weights are zero, and the outputs changed by {error:.2%}")
