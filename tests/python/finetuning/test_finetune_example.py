"""The example `finetune.py` runs as it is, with a model that `pare prune` has pruned."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from conftest import DENO, MODELS, ROOT
from transformers import AutoModelForCausalLM

TEXT = "We the people of this Union have one purpose, and the Congress has a duty to it. " * 60


def run(command: list[str]) -> str:
    """Run a program and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src/python"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_trains_a_pruned_model_and_saves_it_with_the_same_zeros(tmp_path: Path) -> None:
    text, pruned, out = tmp_path / "text.txt", tmp_path / "pruned", tmp_path / "out"
    text.write_text(TEXT)
    prune = ["run", "-A", "--no-check", "src/cli/main.ts", "prune", str(MODELS / "opt-sotu")]
    choice = ["--backend", "cpu", "--method", "magnitude", "--pattern", "2:4", "--skip", "*.layers.0.*"]
    calibration = ["--calibration", str(text), "--samples", "1", "--seqlen", "64"]
    run([*DENO, *prune, "--out", str(pruned), *calibration, *choice])

    script = [sys.executable, str(ROOT / "src/python/examples/finetune.py"), str(pruned), str(text)]
    options = ["--steps", "12", "--batch", "2", "--seqlen", "64", "--learning-rate", "1e-3"]
    lines = run([*script, "--out", str(out), *options]).splitlines()

    # Three of the four blocks are pruned. Each block has 442,368 weights.
    assert lines[0] == "KeptZeros(663552 of 1327104 entries of 18 weights)"
    assert float(lines[2].split()[-1]) < float(lines[1].split()[-1])
    assert lines[3] == "663552 of 1327104 entries of 18 weights are zero"
    before, after = (dict(load(folder).named_parameters()) for folder in (pruned, out))
    changed = 0
    for name, weight in before.items():
        if ".layers." in name and weight.dim() == 2 and ".layers.0." not in name:
            assert torch.equal(weight == 0, after[name] == 0), name
            changed += int((weight != after[name]).any())
    assert changed == 18
    first_block = "model.decoder.layers.0.fc1.weight"
    assert not torch.equal(before[first_block], after[first_block])


def load(folder: Path) -> torch.nn.Module:
    """Load a checkpoint in f32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
