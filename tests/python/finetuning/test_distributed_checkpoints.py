"""Training with keep_zeros continues on two processes after a distributed checkpoint of four."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from pare_llm import keep_zeros
from pruned_networks import PrunedNetwork, assert_exact_zeros, pruned_entries, train
from ranks import run_on_ranks
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard

STEPS = 3


def sharded_network() -> tuple[PrunedNetwork, torch.optim.Optimizer]:
    network = PrunedNetwork()
    for module in (network.up, network.down):
        fully_shard(module)
    fully_shard(network)
    return network, optimizer_of(network)


def optimizer_of(network: PrunedNetwork) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.3)


def train_and_save(folder: Path) -> int:
    """Return the number of zeros that this process keeps."""
    network, optimizer = sharded_network()
    zeros = keep_zeros(network, optimizer)
    train(network, optimizer, STEPS)
    model_state, optimizer_state = get_state_dict(network, optimizer)
    dcp.save({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=folder)
    return sum(mask.zeros for mask in zeros.masks.values())


def load_and_train(folder: Path) -> tuple[int, dict[str, Tensor]]:
    """Begin with other weights, load those of the checkpoint, and train further."""
    network, optimizer = sharded_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    model_state, optimizer_state = get_state_dict(network, optimizer)
    state: dict[str, Any] = {"model": model_state, "optimizer": optimizer_state}
    dcp.load(state, checkpoint_id=folder)
    set_state_dict(network, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    zeros = keep_zeros(network, optimizer)
    train(network, optimizer, STEPS, first_seed=STEPS)
    assert zeros.verify().ok
    kept = sum(mask.zeros for mask in zeros.masks.values())
    return kept, {name: values.full_tensor().detach() for name, values in network.named_parameters()}


def test_the_zeros_of_four_processes_are_kept_on_two(tmp_path: Path) -> None:
    kept = run_on_ranks(train_and_save, 4, tmp_path / "checkpoint")
    results = run_on_ranks(load_and_train, 2, tmp_path / "checkpoint")
    pruned = pruned_entries(PrunedNetwork())
    zeros = sum(int(entries.sum()) for entries in pruned.values())
    assert sum(kept) == sum(count for count, _ in results) == zeros
    expected = PrunedNetwork()
    optimizer = optimizer_of(expected)
    keep_zeros(expected, optimizer)
    train(expected, optimizer, 2 * STEPS)
    for _, parameters in results:
        network = PrunedNetwork()
        network.load_state_dict(parameters, strict=False)  # the head is tied to the embedding
        assert_exact_zeros(network, pruned)
        for name, values in expected.named_parameters():
            torch.testing.assert_close(parameters[name], values.detach(), rtol=1e-4, atol=1e-5)
