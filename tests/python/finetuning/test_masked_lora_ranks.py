"""Masked LoRA under FSDP2."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from pare_llm import mask_lora_
from peft import LoraConfig, PeftModel, get_peft_model
from pruned_networks import PrunedNetwork, loss_of
from ranks import run_on_ranks
from torch import Tensor
from torch.distributed.fsdp import fully_shard


def adapted() -> PeftModel:
    torch.manual_seed(0)
    model = get_peft_model(PrunedNetwork(), LoraConfig(r=3, target_modules=["up", "down"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    return model


def train_with_fsdp2() -> dict[str, Tensor]:
    model = adapted()
    network = model.base_model.model
    for module in (network.up, network.down):
        fully_shard(module)
    fully_shard(model)
    assert mask_lora_(model) == ["up.weight", "down.weight"]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        loss_of(model, 10 * step + dist.get_rank()).backward()
        optimizer.step()
    return {
        name: parameter.detach().full_tensor()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def shard_only_the_base_layer() -> str:
    model = adapted()
    fully_shard(model.base_model.model.up.base_layer, reshard_after_forward=True)
    mask_lora_(model)
    with pytest.raises(TypeError) as raised:
        loss_of(model, 0)
    return str(raised.value)


def run_all() -> dict[str, Any]:
    return {"trained": train_with_fsdp2(), "refusal": shard_only_the_base_layer()}


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """Return the results of both ranks."""
    return run_on_ranks(run_all, 2)


def test_masked_lora_under_fsdp2_trains_like_one_process(results: list[dict[str, Any]]) -> None:
    model = adapted()
    mask_lora_(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        for rank in range(2):
            (loss_of(model, 10 * step + rank) / 2).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            for result in results:
                torch.testing.assert_close(result["trained"][name], parameter.detach(), rtol=0, atol=1e-5)


def test_weight_that_is_sharded_without_its_adapter_is_refused(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert "apply fully_shard to whole blocks" in result["refusal"]
