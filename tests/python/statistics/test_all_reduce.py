"""`HessianRecorder.all_reduce` sums over ranks that called different layers, or shared different inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pare_llm import HessianRecorder
from ranks import run_on_ranks
from statistics_support import TOLERANCE, largest_deviation, reference_hessian
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard


class Experts(nn.Module):
    """A mixture of experts. Expert i gets the tokens whose first feature is i, and may get none."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(3, 3)
        self.gate = nn.ModuleList(nn.Linear(3, 2) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(3, 2) for _ in range(3))

    def forward(self, x: Tensor) -> None:
        """Call the experts that have tokens."""
        self.router(x)
        for i, (gate, up) in enumerate(zip(self.gate, self.up, strict=True)):
            tokens = x[x[:, 0] == i]
            if len(tokens) > 0:
                gate(tokens)
                up(tokens)


def expert_tokens(rank: int) -> Tensor:
    """Return tokens for expert 0 on rank 0 and for expert 1 on both ranks. Expert 2 gets none."""
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(rank))
    x[:, 0] = torch.tensor([rank, 1, 1, 1, rank, 1, rank, 1, 1])
    return x


def record_experts() -> dict[str, Any]:
    """Record a mixture of experts of which some get no tokens."""
    model = Experts()
    with HessianRecorder(model) as recorder:
        model(expert_tokens(dist.get_rank()))
    held = recorder.hessians["router"]
    recorder.all_reduce()

    def record_again() -> None:
        with recorder:
            model(expert_tokens(0))

    return {
        "hessians": {name: (h.matrix, h.tokens, id(h)) for name, h in recorder.hessians.items()},
        "never_called": recorder.never_called,
        "held": held is recorder.hessians["router"],
        "errors": [error_of(recorder.all_reduce), error_of(record_again)],
    }


def error_of(action: Callable[[], None]) -> str:
    """Return the message of the RuntimeError that an action raises."""
    with pytest.raises(RuntimeError) as caught:
        action()
    return str(caught.value)


class Branches(nn.Module):
    """Layers that share an input on some ranks only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 2) for _ in range(4))

    def forward(self, x: Tensor) -> None:
        """On rank 0, all layers but the last have the same input. On rank 1, only the last two have."""
        first, second, third, last = self.layers
        if dist.get_rank() == 0:
            first(x)
            second(x)
            third(x)
        else:
            first(x)
            second(x + 1)
            third(x + 2)
            last(x + 2)


def record_branches() -> dict[str, tuple[Tensor, int, int]]:
    """Record layers that share Hessians in different ways on the ranks."""
    model = Branches()
    with torch.inference_mode(), HessianRecorder(model) as recorder:
        model(expert_tokens(dist.get_rank()))
        recorder.all_reduce()
    return {name: (h.matrix, h.tokens, id(h)) for name, h in recorder.hessians.items()}


def record_different_layers() -> list[str]:
    """Return the errors of ranks whose layers differ, and require that the errors change no Hessian."""
    rank = dist.get_rank()
    errors = []
    for models in (
        [nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 3))],
        [nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))],
        [nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.Linear(4, 3))],
    ):
        with HessianRecorder(models[rank]) as recorder:
            models[rank](torch.ones(2, models[rank][0].in_features))
        before = recorder.hessians["0"].matrix.clone()
        for _ in range(2):
            try:
                recorder.all_reduce()
            except ValueError as error:
                errors.append(str(error))
        assert torch.equal(recorder.hessians["0"].matrix, before)
    return errors


def record_sharded() -> dict[str, Tensor]:
    """Record a model whose weights are sharded by FSDP2."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    for layer in (model[0], model[2], model):
        fully_shard(layer)
    with HessianRecorder(model) as recorder:
        model(expert_tokens(dist.get_rank())).sum().backward()
    recorder.all_reduce()
    return {name: hessian.matrix for name, hessian in recorder.hessians.items()}


def record_subgroups() -> tuple[int, int]:
    """Sum over groups of two of four ranks. Each rank records as many tokens as its number."""
    groups = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    rank = dist.get_rank()
    model = nn.Linear(3, 3)
    with HessianRecorder(model) as recorder:
        model(torch.ones(rank, 3))
    recorder.all_reduce(groups[rank % 2])
    return recorder.hessians[""].tokens, int(recorder.hessians[""].matrix[0, 0])


def every_scenario() -> dict[str, Any]:
    """Run all scenarios of two ranks, because starting a process takes longer than each of them."""
    return {
        "experts": record_experts(),
        "branches": record_branches(),
        "different layers": record_different_layers(),
        "sharded": record_sharded(),
    }


@pytest.fixture(scope="module")
def two_ranks() -> list[dict[str, Any]]:
    """Return the results of every scenario on two ranks."""
    return run_on_ranks(every_scenario, 2)


def test_a_rank_whose_expert_got_no_tokens_contributes_zeros(two_ranks: list[dict[str, Any]]) -> None:
    x = torch.cat([expert_tokens(0), expert_tokens(1)])
    for result in two_ranks:
        hessians = result["experts"]["hessians"]
        for name, rows in (("router", x), ("gate.0", x[x[:, 0] == 0]), ("up.1", x[x[:, 0] == 1])):
            matrix, tokens, _ = hessians[name]
            assert tokens == len(rows)
            assert largest_deviation(matrix, reference_hessian([rows])) < TOLERANCE
        assert hessians["gate.0"][2] == hessians["up.0"][2] != hessians["gate.1"][2]
        assert result["experts"]["never_called"] == ["gate.2", "up.2"]


def test_a_hessian_that_the_caller_holds_becomes_the_sum(two_ranks: list[dict[str, Any]]) -> None:
    assert all(result["experts"]["held"] for result in two_ranks)


def test_refuses_to_sum_or_to_record_after_the_sum(two_ranks: list[dict[str, Any]]) -> None:
    for result in two_ranks:
        of_sum, of_record = result["experts"]["errors"]
        assert "all_reduce was called before" in of_sum
        assert "layer 'router': was called after all_reduce" in of_record


def test_layers_share_a_sum_only_if_they_share_their_inputs_on_every_rank(
    two_ranks: list[dict[str, Any]],
) -> None:
    zero, one = expert_tokens(0), expert_tokens(1)
    expected = {
        "layers.0": [zero, one],
        "layers.1": [zero, one + 1],
        "layers.2": [zero, one + 2],
        "layers.3": [one + 2],
    }
    for result in two_ranks:
        hessians = result["branches"]
        assert len({identity for _, _, identity in hessians.values()}) == 4
        for name, rows in expected.items():
            assert hessians[name][1] == 9 * len(rows)
            assert largest_deviation(hessians[name][0], reference_hessian(rows)) < TOLERANCE


def test_records_models_that_are_sharded_by_fsdp(two_ranks: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    first = nn.Linear(3, 6)
    x = torch.cat([expert_tokens(0), expert_tokens(1)])
    expected = {"0": reference_hessian([x]), "2": reference_hessian([torch.relu(first(x))])}
    for result in two_ranks:
        assert list(result["sharded"]) == ["0", "2"]
        for name, matrix in result["sharded"].items():
            assert largest_deviation(matrix, expected[name]) < TOLERANCE


def test_names_the_layers_that_differ_on_every_rank(two_ranks: list[dict[str, Any]]) -> None:
    expected = [
        "all_reduce: rank 1 does not record '1', but rank 0 does; all ranks must record the same layers",
        "all_reduce: rank 0 does not record '1', but rank 1 does; all ranks must record the same layers",
        "all_reduce: layer '0' has 3 inputs on rank 0, but 4 on rank 1",
    ]
    for result in two_ranks:
        assert result["different layers"] == [error for error in expected for _ in range(2)]


def test_sums_over_a_process_group() -> None:
    assert run_on_ranks(record_subgroups, 4) == [(2, 2), (4, 4), (2, 2), (4, 4)]
