"""The examples run as they are."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from conftest import MODELS, ROOT, HostProcess
from pruning_support import text_files, zeros_of

EXAMPLES = ROOT / "src/python/examples"


def run_example(name: str, *arguments: str) -> str:
    """Run an example in a process of its own, and return the last line that it prints."""
    finished = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src/python"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()[-1]


def test_one_layer(host: HostProcess) -> None:
    printed = run_example("one_layer.py", host.url)
    found = re.search(r"^3072 of 6144 weights are zero, and the outputs changed by ([\d.]+)%$", printed)
    assert found, printed
    assert 0 < float(found[1]) < 10


def test_whole_model(host: HostProcess, tmp_path: Path) -> None:
    arguments = (str(MODELS / "opt-sotu"), str(text_files()["calibration"]), str(tmp_path), host.url)
    printed = run_example("whole_model.py", *arguments)
    assert f"884736 of 1769472 weights in 24 layers are zero: {tmp_path}" in printed
    report = json.loads((tmp_path / "pare.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert zeros_of([model.get_parameter(layer["name"]) for layer in report["layers"]]) == 884736
