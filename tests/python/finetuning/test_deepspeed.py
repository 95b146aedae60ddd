"""keep_zeros with a DeepSpeed engine on two processes."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from pare_llm import keep_zeros, verify
from pruned_networks import PrunedNetwork, assert_exact_zeros, norms_in_float64, pruned_entries
from ranks import run_on_ranks
from torch import nn

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install deepspeed")

Results = list[dict[Any, list[float]]]

STEPS = 3
# The stage of ZeRO, the dtype of the model, and an option: `gathered` lets ZeRO-3 keep small weights
# gathered, and `offload` keeps the optimizer on the CPU.
ENGINES = [
    (0, torch.float32, ""),
    (0, torch.bfloat16, ""),
    (1, torch.bfloat16, ""),
    (2, torch.float32, ""),
    (2, torch.bfloat16, ""),
    (2, torch.bfloat16, "offload"),
    (3, torch.float32, ""),
    (3, torch.bfloat16, "gathered"),
    (3, torch.bfloat16, "offload"),
]


def train(stage: int, dtype: torch.dtype, option: str) -> list[float]:
    """Train with two micro-batches per step, check the zeros after each step, and return the norms."""
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    model = PrunedNetwork()
    pruned = pruned_entries(model)
    config = {
        "train_micro_batch_size_per_gpu": 8,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 0.01,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": stage,
            **({"offload_optimizer": {"device": "cpu"}} if option == "offload" else {}),
            "stage3_param_persistence_threshold": 10**6 if option == "gathered" else 0,
        },
        "bf16": {"enabled": dtype == torch.bfloat16},
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    zeros = keep_zeros(engine, engine.optimizer)
    assert set(zeros.masks) == {"up.weight", "down.weight"}
    norms = []
    for step in range(2 * STEPS):
        seed = 2 * step + dist.get_rank()
        tokens = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(seed))
        engine.backward(nn.functional.cross_entropy(engine(tokens[0]).float(), tokens[1]))
        is_step = engine.is_gradient_accumulation_boundary()
        engine.step()
        if not is_step:
            continue
        norms.append(float(engine.get_global_grad_norm() or 0.0))
        assert zeros.verify().ok
        with deepspeed.zero.GatheredParameters([model.up.weight, model.down.weight]):
            assert_exact_zeros(model, pruned)
            assert verify(model, sparsity=0.3).ok
        for name, entries in pruned.items():
            weight = getattr(model, name).weight
            for value in (
                safe_get_full_fp32_param(weight),
                safe_get_full_optimizer_state(weight, "exp_avg") if stage > 0 else None,
            ):
                assert value is None or torch.count_nonzero(value[entries]) == 0
    zeros.remove()
    engine.destroy()
    return norms


def run_all() -> dict[Any, list[float]]:
    """Train with all engines in one start of the processes."""
    return {engine: train(*engine) for engine in ENGINES}


@pytest.fixture(scope="module")
def results() -> Results:
    """Return the norms of both ranks."""
    return run_on_ranks(run_all, 2)


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_pruned_weights_are_zero_in_the_model_and_in_the_f32_copy_of_deepspeed(
    results: Results, engine: tuple[int, torch.dtype, str]
) -> None:
    assert all(len(result[engine]) == STEPS for result in results)


@pytest.mark.parametrize("engine", ENGINES[1:], ids=str)
def test_norm_that_deepspeed_clips_by_excludes_the_pruned_entries(
    results: Results, engine: tuple[int, torch.dtype, str]
) -> None:
    expected = norms_in_float64(range(4))[0] / 4
    for result in results:
        assert result[engine][0] == pytest.approx(expected, rel=1e-5 if engine[1] == torch.float32 else 0.02)
