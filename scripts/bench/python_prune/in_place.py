"""Prunes a model with `prune_` in a process of its own, so that environment variables can set its threads.

    python in_place.py MODEL WINDOWS.json URL OUT

WINDOWS.json holds a list of calibration windows of token ids. The pruned checkpoint is written to OUT in the
dtype of MODEL. The last line of standard output is one JSON object. "seconds" is the time of `prune_`.
"""

import json
import sys
import time
from pathlib import Path

import torch
import transformers
from pare_llm import Pare, prune_

BATCH = 4


def main() -> None:
    """Prune once, and print the result."""
    dense, windows_file, url, out = sys.argv[1:]
    windows = torch.tensor(json.loads(Path(windows_file).read_text()))
    model = transformers.AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32)
    started = time.perf_counter()
    report = prune_(model, windows.split(BATCH), Pare(url), progress=False)
    seconds = time.perf_counter() - started
    model.to(transformers.AutoConfig.from_pretrained(dense).dtype).save_pretrained(out)
    result = {
        "seconds": seconds,
        "adapter": report.layers[0].report["adapter"],
        "method": report.facts.parameters["method"],
        "sparsity": report.sparsity,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
