"""Record statistics in a training step on several ranks, and prune one layer with them.

Start a host with `deno task serve`, and then the ranks:

    torchrun --nproc-per-node 2 record_on_ranks.py MODEL --layer layers.0.fc1 --host http://127.0.0.1:8000

MODEL is a causal language model of transformers.
"""

import argparse
import os

import torch
from pare_llm import HessianRecorder, Pare
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("--layer", required=True)
parser.add_argument("--host", default="http://127.0.0.1:8000")
args = parser.parse_args()

# Every rank has a copy of the model and its own batch.
device = torch.device("cpu")
if torch.cuda.is_available():
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
dist.init_process_group()
rank = dist.get_rank()
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).to(device).train()
ddp = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(ddp.parameters(), lr=1e-5)

# Random tokens stand for the training data. The last tokens of the second sequence are padding.
torch.manual_seed(rank)
tokens = torch.randint(model.config.vocab_size, (2, 64), device=device)
mask = torch.ones_like(tokens)
mask[1, 50:] = 0
labels = tokens.masked_fill(mask == 0, -100)

# Record the inputs of the layer while the model is trained, and sum their statistics over the ranks.
with HessianRecorder(ddp, layers=[args.layer]) as recorder:
    ddp(input_ids=tokens, attention_mask=mask, labels=labels).loss.backward()
    optimizer.step()
recorder.all_reduce()

# One rank has the layer pruned, and the others get its weight, so all copies of the model stay the same.
(name, hessian), *_ = recorder.hessians.items()
weight = recorder.layers[name].weight.detach()
pruned_weight = torch.empty(weight.shape, dtype=weight.dtype, device=device)
if rank == 0:
    pruned = Pare(args.host).prune_layer(weight, hessian_upper=hessian.upper(), pattern="2:4")
    pruned_weight.copy_(pruned.weight)
    sparsity, error = pruned.report["sparsity"], pruned.report["relative_error"]
    ranks = f"{hessian.tokens} tokens of {dist.get_world_size()} ranks"
    print(f"{name}: sparsity {sparsity:.2f}, relative error {error:.4f}, with statistics of {ranks}")
dist.broadcast(pruned_weight, src=0)
weight.copy_(pruned_weight)
# torchrun does not buffer output. One write for the whole line keeps the lines of two ranks apart.
print(f"rank {rank}: {(weight == 0).sum().item()} zeros\n", end="")
dist.destroy_process_group()
