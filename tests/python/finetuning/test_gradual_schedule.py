"""GradualSchedule with a stand-in for prune_, and with prune_ and a real host."""

from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import GradualSchedule, Pare, PareHosts
from pare_llm.finetuning import gradual_schedule
from pare_llm.finetuning.gradual_schedule import MaskingClient
from pare_llm.pruning.layer_client import host_count
from pruned_networks import PrunedNetwork, assert_exact_zeros, pruned_entries, tiny_opt
from torch import Tensor, nn


class MagnitudePrune:
    """Stands for `prune_`: prunes two layers by magnitude, and records the arguments of each call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, model: PrunedNetwork, batches: Any, client: Any, **arguments: Any) -> str:
        self.calls.append({"batches": batches, **arguments})
        with torch.no_grad():
            for layer in (model.up, model.down):
                order = layer.weight.abs().flatten().argsort()
                layer.weight.view(-1)[order[: round(arguments["sparsity"] * len(order))]] = 0.0
        return f"report {len(self.calls)}"


@pytest.fixture
def prune(monkeypatch: pytest.MonkeyPatch) -> MagnitudePrune:
    """Replace `prune_` by a stand-in."""
    stand_in = MagnitudePrune()
    monkeypatch.setattr(gradual_schedule, "prune_", stand_in)
    return stand_in


def schedule_of(model: nn.Module, **options: Any) -> tuple[GradualSchedule, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    arguments = {"initial": 0.5, "final": 0.8, "times": 3, **options}
    return GradualSchedule(None, model, optimizer, ["batch"], **arguments), optimizer


def test_sparsities_follow_the_cubic_of_zhu_and_gupta(prune: MagnitudePrune) -> None:
    schedule, _ = schedule_of(PrunedNetwork(), every=2, begin=1)
    reports = [schedule.step() for _ in range(9)]
    assert reports == [None, None, "report 1", None, "report 2", None, "report 3", None, None]
    expected = [0.8 - 0.3 * (1 - k / 3) ** 3 for k in (1, 2, 3)]
    assert [call["sparsity"] for call in prune.calls] == pytest.approx(expected, abs=1e-15)
    assert prune.calls[-1]["sparsity"] == 0.8


def test_masks_grow_with_each_prune_and_hold_between_them(prune: MagnitudePrune) -> None:
    model = PrunedNetwork()
    with torch.no_grad():
        MagnitudePrune()(model, [], None, sparsity=0.5)
    schedule, optimizer = schedule_of(model)
    sparsities = []
    for seed in range(6):
        pruned = pruned_entries(model)
        optimizer.zero_grad()
        model.loss(seed).backward()
        optimizer.step()
        assert_exact_zeros(model, pruned)
        schedule.step()
        for name, entries in pruned_entries(model).items():
            assert (entries | ~pruned[name]).all(), "a pruned entry came back"
        sparsities.append(schedule.zeros.masks["up.weight"].zeros)
    assert sparsities == [round(s * 132) for s in (0.8 - 0.3 * 8 / 27, 0.8 - 0.3 / 27, 0.8, 0.8, 0.8, 0.8)]


def test_dense_model_is_trained_freely_until_the_first_prune(prune: MagnitudePrune) -> None:
    model = PrunedNetwork()
    nn.init.normal_(model.up.weight)
    nn.init.normal_(model.down.weight)
    schedule, optimizer = schedule_of(model, initial=0.0, every=2)
    assert schedule.zeros is None
    schedule.step()
    schedule.step()
    assert schedule.zeros is not None
    pruned = pruned_entries(model)
    model.loss(0).backward()
    optimizer.step()
    assert_exact_zeros(model, pruned)
    schedule.remove()
    model.loss(1).backward()
    optimizer.step()
    assert not schedule.zeros.verify().ok


def test_a_weight_that_a_later_prune_prunes_first_keeps_its_zeros_too(prune: MagnitudePrune) -> None:
    model = PrunedNetwork()
    nn.init.normal_(model.down.weight)
    schedule, optimizer = schedule_of(model)
    assert list(schedule.zeros.masks) == ["up.weight"]
    schedule.step()
    assert list(schedule.zeros.masks) == ["up.weight", "down.weight"]
    pruned = pruned_entries(model)
    model.loss(0).backward()
    optimizer.step()
    assert_exact_zeros(model, pruned)


def test_batches_may_be_made_anew_for_each_prune_and_other_arguments_reach_it(prune: MagnitudePrune) -> None:
    model = PrunedNetwork()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = iter(["first", "second"])
    schedule = GradualSchedule(
        None,
        model,
        optimizer,
        lambda: next(made),
        initial=0.5,
        final=0.6,
        times=2,
        layers="up",
        method="alps",
    )
    schedule.step()
    schedule.step()
    assert [call["batches"] for call in prune.calls] == ["first", "second"]
    assert {(call["layers"], call["method"]) for call in prune.calls} == {("up", "alps")}
    assert list(schedule.zeros.masks) == ["up.weight"]


def test_resumed_schedule_goes_on_after_its_last_step(prune: MagnitudePrune) -> None:
    schedule, _ = schedule_of(PrunedNetwork())
    schedule.steps = 2
    assert schedule.sparsity == pytest.approx(0.8 - 0.3 / 27)
    schedule.step()
    assert [call["sparsity"] for call in prune.calls] == [0.8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0.8}, "initial and final: need 0 <= initial < final < 1, not 0.8 and 0.8"),
        ({"final": 1.0}, "not 0.5 and 1.0"),
        ({"times": 0}, "times, every and begin: must be at least 1, 1 and 0, not 0, 1 and 0"),
        ({"pattern": "2:4"}, "pattern: the schedule sets the sparsity, so 2:4 cannot be given"),
        ({"sparsity": 0.5}, "sparsity: the schedule sets the sparsity, so 0.5 cannot be given"),
    ],
)
def test_malformed_schedules_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule_of(PrunedNetwork(), **options)


def tokens_of(seed: int) -> Tensor:
    return torch.randint(64, (4, 16), generator=torch.Generator().manual_seed(seed))


def block_weights(model: nn.Module) -> dict[str, Tensor]:
    return {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"}


@pytest.mark.parametrize("method", ["sparsegpt", "magnitude", "alps"])
def test_host_prunes_a_model_to_80_percent_while_it_is_trained(host: HostProcess, method: str) -> None:
    torch.manual_seed(0)
    model = tiny_opt(vocab_size=64, hidden_size=16, word_embed_proj_dim=16, ffn_dim=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    sparsities = [0.8 * (1 - (1 - k / 3) ** 3) for k in (1, 2, 3)]
    with (
        Pare(host.url) as pare,
        GradualSchedule(
            pare,
            model,
            optimizer,
            [tokens_of(seed) for seed in range(4)],
            initial=0.0,
            final=0.8,
            times=3,
            every=2,
            method=method,
        ) as schedule,
    ):
        for step in range(8):
            pruned = {name: weight.detach() == 0 for name, weight in block_weights(model).items()}
            optimizer.zero_grad()
            tokens = tokens_of(100 + step)
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
            if schedule.zeros is not None:
                for name, weight in block_weights(model).items():
                    assert torch.count_nonzero(weight[pruned[name]]) == 0
            report = schedule.step()
            assert (report is not None) == (step in (1, 3, 5))
            for name, weight in block_weights(model).items():
                if step >= 1:
                    zeros = weight.numel() - int(torch.count_nonzero(weight))
                    assert zeros == round(sparsities[min((step - 1) // 2, 2)] * weight.numel())
                if step > 1:
                    assert torch.count_nonzero(weight[pruned[name]]) == 0, f"{name}: a zero came back"
        assert schedule.zeros is not None
        assert len(schedule.zeros.masks) == 12
        assert schedule.zeros.verify().ok


class OneLayerClient:
    """A client without a length, which solves one layer at a time."""

    def prune_layer(self, weight: torch.Tensor, **arguments: Any) -> Any:
        return arguments


@pytest.mark.parametrize(
    ("client", "count"),
    [
        (Pare("http://127.0.0.1:1"), 1),
        ([Pare("http://127.0.0.1:1"), Pare("http://127.0.0.1:2")], 2),
        (PareHosts(["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]), 3),
        (OneLayerClient(), 1),
    ],
    ids=["Pare", "a list", "PareHosts", "another client"],
)
def test_all_hosts_of_the_client_get_layers(client: Any, count: int) -> None:
    assert host_count(MaskingClient(client)) == count


def test_the_mask_is_that_of_the_nonzero_weights() -> None:
    sent = MaskingClient(OneLayerClient()).prune_layer(torch.tensor([[1.0, 0.0], [-0.0, 2.0]]), hessian="x")
    assert sent.pop("mask").tolist() == [[True, False], [False, True]]
    assert sent == {"hessian": "x"}


@pytest.mark.parametrize("is_list", [False, True])
def test_statistics_that_the_host_has_lost_are_stored_again(is_list: bool, host: HostProcess) -> None:
    weight = torch.tensor([[1.0, 0.0, 3.0, 4.0], [0.0, 6.0, 7.0, 8.0]])
    upper = torch.eye(4)[torch.triu(torch.ones(4, 4)) == 1]
    with Pare(host.url) as pare:
        client = MaskingClient([pare] if is_list else pare)
        digest = client.put_hessian(upper)
        client.prune_layer(weight, hessian=digest, method="sparsegpt")
        pare.delete_hessian(digest)
        pruned = client.prune_layer(weight, hessian=digest, method="sparsegpt")
        client.delete_hessian(digest)
    assert int((pruned.weight == 0).sum()) == 4
    assert not pruned.weight[weight == 0].any()
