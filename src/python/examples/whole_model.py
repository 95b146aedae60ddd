"""Prunes a causal language model of transformers in place, and saves it with the report of the run.

    python whole_model.py MODEL TEXT OUT [URL]

MODEL is a folder or a name on the Hugging Face hub, TEXT a file to calibrate on, and URL the address of a
host, which `deno task serve` starts. Without URL, this process solves the layers. If the script is stopped,
the same command continues after the last finished layer.
"""

import sys
from pathlib import Path

import torch
from pare_llm import Pare, calibration_windows, prune_
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOWS, TOKENS = 32, 256

name, text, out, *rest = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(name)

# Evenly spaced windows of the text, four of which run through the model at a time.
windows = calibration_windows(tokenizer, text, WINDOWS, TOKENS)

report = prune_(
    model,
    windows.split(4),
    Pare(*rest) if rest else None,
    method="sparsegpt",
    sparsity=0.5,
    journal=Path(out) / "journal",
)
model.save_pretrained(out)
tokenizer.save_pretrained(out)
report.save(out)
print(f"{report.zeros} of {report.entries} weights in {len(report.layers)} layers are zero: {out}")
