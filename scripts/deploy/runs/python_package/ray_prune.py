"""Prunes a checkpoint folder on a Ray cluster.

    ray job submit --working-dir . -- python ray_prune.py MODEL TEXT OUT

If the job is stopped, the same command continues after the last finished layer.
"""

import sys
from pathlib import Path

import pare_llm.ray
import ray
from pare_llm import calibration_windows
from transformers import AutoTokenizer

WINDOWS, TOKENS = 32, 256

model, text, out, *hosts = sys.argv[1:]
windows = calibration_windows(AutoTokenizer.from_pretrained(model), text, WINDOWS, TOKENS)

ray.init()
report = pare_llm.ray.prune(
    model,
    windows.split(1),
    out,
    hosts=hosts or ["http://127.0.0.1:8000"],
    pattern="2:4",
    journal=Path(out) / "journal",
)
print(f"{report.zeros} of {report.entries} weights in {len(report.layers)} layers are zero: {out}")
