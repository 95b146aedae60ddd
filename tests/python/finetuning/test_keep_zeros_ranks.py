"""keep_zeros on several processes."""

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pare_llm import keep_zeros, verify
from pruned_networks import PrunedNetwork, assert_exact_zeros, loss_of, norms_in_float64, pruned_entries
from ranks import run_on_ranks
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

Results = list[dict[Any, Any]]

STEPS = 4
MAX_NORM = 0.5


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.3)


def whole(tensor: Tensor) -> Tensor:
    return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor.detach().clone()


def single_process_run(hidden: int) -> tuple[dict[str, Tensor], list[float]]:
    """Train on the batches of both ranks in one process, in float64 and without keep_zeros."""
    model = PrunedNetwork(hidden=hidden, dtype=torch.float64)
    pruned = pruned_entries(model)
    optimizer = optimizer_of(model)
    norms = []
    for step in range(STEPS):
        optimizer.zero_grad()
        for rank in range(2):
            (model.loss(10 * step + rank) / 2).backward()
        for name, entries in pruned.items():
            getattr(model, name).weight.grad[entries] = 0.0
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)))
        optimizer.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}, norms


def train(model: PrunedNetwork, wrapped: nn.Module, pruned: dict[str, Tensor]) -> dict[str, Any]:
    """Train with keep_zeros, and check the zeros after each backward and each step."""
    optimizer = optimizer_of(wrapped)
    zeros = keep_zeros(wrapped, optimizer)
    norms = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(wrapped, 10 * step + dist.get_rank()).backward()
        for name, entries in pruned.items():
            assert torch.count_nonzero(whole(getattr(model, name).weight.grad)[entries]) == 0
        norms.append(float(whole(nn.utils.clip_grad_norm_(wrapped.parameters(), MAX_NORM))))
        optimizer.step()
        gathered = PrunedNetwork(hidden=model.up.out_features)
        for name, entries in pruned.items():
            getattr(gathered, name).weight.data = whole(getattr(model, name).weight)
            assert entries.any()
        assert_exact_zeros(gathered, pruned)
        assert zeros.verify().ok
    return {
        "parameters": {name: whole(parameter) for name, parameter in model.named_parameters()},
        "norms": norms,
        "masked": {name: mask.zeros for name, mask in zeros.masks.items()},
        "entries": {name: mask.entries for name, mask in zeros.masks.items()},
    }


def assert_like_single_process(results: list[dict[str, Any]], hidden: int) -> None:
    parameters, norms = single_process_run(hidden)
    for result in results:
        assert result["norms"] == pytest.approx(norms, rel=1e-5)
        for name, expected in parameters.items():
            torch.testing.assert_close(result["parameters"][name].double(), expected, rtol=0, atol=1e-5)


def train_with_ddp() -> dict[str, Any]:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    if dist.get_rank() == 1:
        nn.init.zeros_(model.norm.weight)  # DistributedDataParallel copies the parameters of rank 0
    return train(model, DistributedDataParallel(model), pruned)


def test_ddp_trains_like_one_process_with_exact_zeros(results: Results) -> None:
    assert_like_single_process([result["ddp"] for result in results], hidden=11)


def train_with_fsdp2(hidden: int) -> dict[str, Any]:
    model = PrunedNetwork(hidden=hidden)
    pruned = pruned_entries(model)
    for module in (model.up, model.down):
        fully_shard(module)
    fully_shard(model)
    result = train(model, model, pruned)
    assert verify(model, sparsity=0.3).ok
    return result


@pytest.mark.parametrize("hidden", [8, 11, 1], ids=["even", "uneven", "rank 1 has no row"])
def test_fsdp2_trains_like_one_process_with_masks_of_the_local_rows(results: Results, hidden: int) -> None:
    trained = [result["fsdp2", hidden] for result in results]
    assert_like_single_process(trained, hidden)
    rows = [(hidden + 1) // 2, hidden // 2]
    # A weight without a zero in the local rows has no mask.
    entries = [result["entries"].get("up.weight", 0) for result in trained]
    assert entries == [12 * count for count in rows]
    masked = sum(result["masked"].get("up.weight", 0) for result in trained)
    assert masked == int(pruned_entries(PrunedNetwork(hidden=hidden))["up"].sum())


class CollectiveCounter(TorchDispatchMode):
    """Counts the operations that communicate, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def collectives_with_fsdp2() -> dict[Any, Counter[str]]:
    """Count the collectives of two steps with and without keep_zeros, and those of the call itself."""
    counts = {}
    for kept in (False, True):
        model = PrunedNetwork()
        fully_shard(model.up)
        fully_shard(model)
        optimizer = optimizer_of(model)
        with CollectiveCounter() as counter:
            if kept:
                keep_zeros(model, optimizer)
        counts["creation", kept] = counter.counts
        with CollectiveCounter() as counter:
            for seed in range(2):
                model.loss(seed).backward()
                optimizer.step()
                optimizer.zero_grad()
        counts["training", kept] = counter.counts
    return counts


def test_masks_under_fsdp2_need_no_communication(results: Results) -> None:
    for counts in (result["collectives"] for result in results):
        assert counts["training", False].total() > 0
        assert counts["training", True] == counts["training", False]
        assert counts["creation", True].total() == 0


def accumulate_with_fsdp2() -> float:
    """Accumulate two batches, the first without communication, and return the norm."""
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    half = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32
    )
    fully_shard(model.up, mp_policy=half)
    fully_shard(model)
    optimizer = optimizer_of(model)
    keep_zeros(model, optimizer)
    for micro_batch in range(2):
        model.set_requires_gradient_sync(micro_batch == 1)
        model.loss(micro_batch).backward()
    norm = float(whole(nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
    for name, entries in pruned.items():
        assert torch.count_nonzero(whole(getattr(model, name).weight.grad)[entries]) == 0
    return norm


def test_fsdp2_accumulates_gradients_in_mixed_precision_without_the_pruned_entries(results: Results) -> None:
    for result in results:
        assert result["fsdp2 accumulates"] == pytest.approx(norms_in_float64(range(2))[0], rel=0.05)


def accumulate_with_ddp() -> float:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    keep_zeros(wrapped, optimizer_of(wrapped))
    for micro_batch in range(2):
        with wrapped.no_sync() if micro_batch == 0 else nullcontext():
            loss_of(wrapped, dist.get_rank()).backward()
    for name, entries in pruned.items():
        assert torch.count_nonzero(getattr(model, name).weight.grad[entries]) == 0
    return float(nn.utils.clip_grad_norm_(wrapped.parameters(), 1.0))


def test_ddp_with_bucket_views_accumulates_gradients_without_the_pruned_entries(results: Results) -> None:
    for result in results:
        assert result["ddp accumulates"] == pytest.approx(norms_in_float64(range(2))[0], rel=1e-5)


def dense_model_with_fsdp2() -> str:
    model = PrunedNetwork()
    with torch.no_grad():
        for layer in (model.up, model.down):
            layer.weight += 1000.0
    fully_shard(model)
    with pytest.raises(ValueError, match="none of 2 weights has a zero") as raised:
        keep_zeros(model, optimizer_of(model))
    return str(raised.value)


def test_every_rank_refuses_a_dense_model_under_fsdp2(results: Results) -> None:
    assert all("load the pruned weights" in result["dense"] for result in results)


def shard_after_keep_zeros() -> tuple[list[str], bool]:
    """Return the failures of a model that is sharded too late, and whether another passes in mid-step."""
    late = PrunedNetwork()
    zeros = keep_zeros(late, optimizer_of(late))
    fully_shard(late)
    model = PrunedNetwork()
    fully_shard(model)
    kept = keep_zeros(model, optimizer_of(model))
    model.loss(0)  # FSDP2 leaves the gathered parameters in the model until backward
    return list(zeros.verify().failures), kept.verify().ok


def test_a_model_that_is_sharded_after_the_call_fails_the_check(results: Results) -> None:
    for result in results:
        assert result["late"] == (["up.weight", "down.weight"], True)


def run_all() -> dict[Any, Any]:
    """Run everything in one start of the processes, because a start takes seconds."""
    return {
        "ddp": train_with_ddp(),
        **{("fsdp2", hidden): train_with_fsdp2(hidden) for hidden in (8, 11, 1)},
        "collectives": collectives_with_fsdp2(),
        "fsdp2 accumulates": accumulate_with_fsdp2(),
        "ddp accumulates": accumulate_with_ddp(),
        "dense": dense_model_with_fsdp2(),
        "late": shard_after_keep_zeros(),
    }


@pytest.fixture(scope="module")
def results() -> Results:
    """Return the results of both ranks."""
    return run_on_ranks(run_all, 2)
