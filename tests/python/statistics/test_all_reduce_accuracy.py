"""`HessianRecorder.all_reduce` gives the sums of a trained model however its batches were distributed.

With PARE_WRITE_RESULTS=1, the largest deviations are written to the results of the benches.
"""

import json
import os
import platform
from datetime import datetime, timezone
from typing import Any

import pytest
import torch
from conftest import MODELS, ROOT
from pare_llm import HessianRecorder
from ranks import run_on_ranks
from statistics_support import TOLERANCE, captured_inputs, largest_deviation, reference_hessian
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

RESULTS = ROOT / "scripts/bench/results/python_statistics.json"
MODEL = "opt-sotu"
LENGTHS = (40, 7, 33, 1, 25, 40, 12, 3, 19, 30, 38)
"""The tokens of each sequence. Neither 2 nor 4 ranks get the same number of sequences or tokens."""


def trained_model() -> nn.Module:
    """Load a trained model in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODELS / MODEL, dtype=torch.float32).eval()


def sequences() -> list[Tensor]:
    """Return the token ids of every sequence."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(3, 2048, (length,), generator=generator) for length in LENGTHS]


def padded(rows: list[Tensor]) -> dict[str, Tensor]:
    """Return a batch that is padded on the right, with its mask."""
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask}


def record_share(batch: int) -> dict[str, tuple[Tensor, int, int]]:
    """Record this rank's share of the sequences under DDP, in batches of which the last is smaller."""
    model = DistributedDataParallel(trained_model())
    mine = sequences()[dist.get_rank() :: dist.get_world_size()]
    with torch.no_grad(), HessianRecorder(model) as recorder:
        for start in range(0, len(mine), batch):
            model(**padded(mine[start : start + batch]))
    recorder.all_reduce()
    return {name: (h.matrix, h.tokens, id(h)) for name, h in recorder.hessians.items()}


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    """Return Σ x xᵀ in float64 of every layer, from the sequences one by one in one process."""
    model = trained_model()
    recorder = HessianRecorder(model)
    modules = {name: layer.module for name, layer in recorder.layers.items()}
    with torch.no_grad(), captured_inputs(modules) as inputs:
        for row in sequences():
            model(row[None])
    return {name: reference_hessian(rows) for name, rows in inputs.items()}


@pytest.fixture(scope="module")
def deviations() -> Any:
    """Collect the largest deviation for each number of ranks, and write the results if that is asked for."""
    found: dict[int, float] = {}
    yield found
    if os.environ.get("PARE_WRITE_RESULTS") == "1" and set(found) == {2, 4}:
        write_results(found)


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_sum_over_ranks_is_the_sum_over_all_real_tokens(
    ranks: int, reference: dict[str, Tensor], deviations: dict[int, float]
) -> None:
    results = run_on_ranks(record_share, ranks, 2)
    deviations[ranks] = 0.0
    for hessians in results:
        assert list(hessians) == list(reference)
        for name, (matrix, tokens, _) in hessians.items():
            assert tokens == sum(LENGTHS)
            assert torch.equal(matrix, matrix.t())
            assert torch.equal(matrix, results[0][name][0])
            deviations[ranks] = max(deviations[ranks], largest_deviation(matrix, reference[name]))
        block = "model.decoder.layers.0.self_attn."
        assert len({hessians[f"{block}{name}_proj"][2] for name in "qkv"}) == 1
    assert deviations[ranks] < TOLERANCE


def write_results(found: dict[int, float]) -> None:
    """Write the figures to the results of the benches."""
    results = {
        "date": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "machine": {
            "cores": os.cpu_count(),
            "os": f"{platform.system().lower()} {platform.release()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "model": MODEL,
        "sequences": len(LENGTHS),
        "tokens": sum(LENGTHS),
        "tolerance": TOLERANCE,
        "largestDeviation": [{"ranks": ranks, "deviation": value} for ranks, value in sorted(found.items())],
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
