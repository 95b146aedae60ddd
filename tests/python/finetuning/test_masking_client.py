"""MaskingClient in front of every client that `prune_` accepts."""

from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import Pare, PareHosts
from pare_llm.finetuning.gradual_schedule import MaskingClient
from pare_llm.pruning.layer_client import host_count


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
