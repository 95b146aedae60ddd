"""The example `record_on_ranks.py` runs as it is, with torchrun and a real host."""

import os
import subprocess
import sys

from conftest import MODELS, ROOT, HostProcess

LAYER = "model.decoder.layers.1.fc1"


def test_the_example_prunes_a_layer_with_the_statistics_of_two_ranks(host: HostProcess) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    address = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    script = [str(ROOT / "src/python/examples/record_on_ranks.py"), str(MODELS / "opt-sotu")]
    run = subprocess.run(
        [*torchrun, *address, *script, "--layer", "layers.1.fc1", "--host", host.url],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src/python"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    lines = sorted(run.stdout.splitlines())
    # Each rank has 64 + 50 tokens. Half of the 768 · 192 weights are pruned.
    assert lines[0].startswith(f"{LAYER}: sparsity 0.50, relative error 0.")
    assert lines[0].endswith("with statistics of 228 tokens of 2 ranks")
    assert lines[1:] == ["rank 0: 73728 zeros", "rank 1: 73728 zeros"]
