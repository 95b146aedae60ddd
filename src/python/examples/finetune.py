"""Fine-tune a pruned model, and keep its zeros.

    python finetune.py PRUNED TEXT --out OUT

PRUNED is a folder that `pare prune` wrote, and TEXT is a text file to train on. The model in OUT has the
zeros of the model in PRUNED.
"""

import argparse
from pathlib import Path

import torch
from pare_llm import keep_zeros
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("pruned", type=Path)
parser.add_argument("text", type=Path)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--batch", type=int, default=8, help="windows per step")
parser.add_argument("--seqlen", type=int, default=256, help="tokens per window")
parser.add_argument("--learning-rate", type=float, default=3e-4)
args = parser.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
tokenizer = AutoTokenizer.from_pretrained(args.pruned)
model = AutoModelForCausalLM.from_pretrained(args.pruned, dtype=torch.float32).to(device).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)

# Cut the text into windows of equal length.
tokens = tokenizer(args.text.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
windows = tokens[: len(tokens) // args.seqlen * args.seqlen].view(-1, args.seqlen)

# From here on, the pruned weights get no gradient, and are zero after each step of the optimizer.
torch.manual_seed(0)
with keep_zeros(model, optimizer, folder=args.pruned) as zeros:
    print(zeros)
    for step in range(args.steps):
        batch = windows[torch.randint(len(windows), (args.batch,))].to(device)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    result = zeros.verify()

print(result)
assert result.ok
model.save_pretrained(args.out)
tokenizer.save_pretrained(args.out)
