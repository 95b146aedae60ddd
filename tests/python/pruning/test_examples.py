"""The examples run as they are."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from conftest import MODELS, PARE, ROOT, HostProcess, run_deno, run_python
from pruning_support import text_files, zeros_of

EXAMPLES = ROOT / "src/python/examples"
OPT = MODELS / "opt-sotu"


def run_example(name: str, *arguments: str) -> list[str]:
    return run_python(str(EXAMPLES / name), *arguments)


def load(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_one_layer(host: HostProcess) -> None:
    printed = run_example("one_layer.py", host.url)[-1]
    found = re.search(r"^3072 of 6144 weights are zero, and the outputs changed by ([\d.]+)%$", printed)
    assert found, printed
    assert 0 < float(found[1]) < 10


@pytest.mark.parametrize("has_host", [True, False])
def test_whole_model(has_host: bool, host: HostProcess, tmp_path: Path) -> None:
    arguments = (str(OPT), str(text_files()["calibration"]), str(tmp_path), *[host.url] * has_host)
    printed = run_example("whole_model.py", *arguments)[-1]
    assert f"884736 of 1769472 weights in 24 layers are zero: {tmp_path}" in printed
    report = json.loads((tmp_path / "pare.json").read_text())
    model = load(tmp_path)
    assert zeros_of([model.get_parameter(layer["name"]) for layer in report["layers"]]) == 884736


def test_record_on_ranks(host: HostProcess) -> None:
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    address = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    script = [str(EXAMPLES / "record_on_ranks.py"), str(OPT), "--layer", "layers.1.fc1", "--host", host.url]
    first, *others = sorted(run_python(*torchrun, *address, *script))
    # Each rank has 64 + 50 tokens. Half of the 768 · 192 weights are pruned.
    assert first.startswith("model.decoder.layers.1.fc1: sparsity 0.50, relative error 0.")
    assert first.endswith("with statistics of 228 tokens of 2 ranks")
    assert others == ["rank 0: 73728 zeros", "rank 1: 73728 zeros"]


def test_finetune_trains_a_pruned_model_and_saves_it_with_the_same_zeros(tmp_path: Path) -> None:
    text, pruned, out = tmp_path / "text.txt", tmp_path / "pruned", tmp_path / "out"
    text.write_text("We the people of this Union have one purpose, and the Congress has a duty to it. " * 60)
    choice = ["--backend", "cpu", "--method", "magnitude", "--pattern", "2:4", "--skip", "*.layers.0.*"]
    calibration = ["--calibration", text, "--samples", "1", "--seqlen", "64"]
    run_deno(PARE, "prune", OPT, "--out", pruned, *calibration, *choice)

    options = ["--steps", "12", "--batch", "2", "--seqlen", "64", "--learning-rate", "1e-3"]
    lines = run_example("finetune.py", str(pruned), str(text), "--out", str(out), *options)

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
