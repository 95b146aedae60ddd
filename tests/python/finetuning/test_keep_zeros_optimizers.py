"""keep_zeros with every optimizer: its state, its schedulers and its parameter groups."""

from collections.abc import Callable

import pytest
import torch
from pare_llm import keep_zeros
from pruned_networks import PrunedNetwork, assert_exact_zeros, pruned_entries, train
from torch import nn

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "SGD with foreach and Nesterov momentum": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, foreach=True
    ),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
    "AdamW with foreach": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, foreach=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, fused=True),
    "Adam with AMSGrad and L2": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.5, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_are_exactly_zero_after_every_step(name: str) -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = OPTIMIZERS[name](model.parameters())
    keep_zeros(model, optimizer)
    for step in range(4):
        train(model, optimizer, 1, step)
        assert_exact_zeros(model, pruned)
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), f"{name} was not trained"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_momentum_of_dense_training_does_not_bring_weights_back(name: str) -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, 3)  # fills the zeros, and gives the masked entries momentum
    with torch.no_grad():
        for layer, entries in pruned.items():
            getattr(model, layer).weight[entries] = 0.0
    keep_zeros(model, optimizer)
    for step in range(4):
        train(model, optimizer, 1, step)
        assert_exact_zeros(model, pruned)


def test_update_of_all_entries_by_muon_is_undone_in_the_pruned_ones() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.Muon([model.up.weight, model.down.weight], lr=0.1, weight_decay=0.1)
    keep_zeros(model, optimizer)
    for step in range(3):
        train(model, optimizer, 1, step)
        assert_exact_zeros(model, pruned)


@pytest.mark.parametrize("name", ["SGD with momentum", "AdamW", "Adam with AMSGrad and L2", "fused AdamW"])
def test_training_follows_a_float64_model_whose_weights_are_multiplied_by_the_mask(name: str) -> None:
    model, reference = PrunedNetwork(dtype=torch.float64), PrunedNetwork(dtype=torch.float64)
    for layer in ("up", "down"):
        weight = getattr(reference, layer).weight
        kept = (weight != 0).double()
        nn.utils.parametrize.register_parametrization(getattr(reference, layer), "weight", Product(kept))
    optimizer = OPTIMIZERS[name](model.parameters())
    keep_zeros(model, optimizer)
    train(model, optimizer, 6)
    train(reference, OPTIMIZERS[name](reference.parameters()), 6)
    for layer in ("up", "down"):
        torch.testing.assert_close(
            getattr(model, layer).weight, getattr(reference, layer).weight, rtol=0, atol=1e-12
        )


class Product(nn.Module):
    """Multiplies a weight by a mask."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


def test_learning_rate_schedulers_and_later_parameter_groups_keep_the_zeros() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.SGD(model.up.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=8)
    keep_zeros(model, optimizer)
    train(model, optimizer, 1)
    scheduler.step()
    optimizer.add_param_group({"params": list(model.down.parameters()), "lr": 0.3})
    before = model.down.weight.clone()
    train(model, optimizer, 2)
    assert not torch.equal(model.down.weight, before)
    assert_exact_zeros(model, pruned)


def test_optimizer_state_of_pruned_entries_stays_zero() -> None:
    model = PrunedNetwork()
    pruned = pruned_entries(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    keep_zeros(model, optimizer)
    train(model, optimizer, 3)
    for layer, entries in pruned.items():
        state = optimizer.state[getattr(model, layer).weight]
        assert torch.count_nonzero(state["exp_avg"][entries]) == 0
        assert torch.count_nonzero(state["exp_avg_sq"][entries]) == 0
        assert torch.count_nonzero(state["exp_avg"][~entries]) > 0
