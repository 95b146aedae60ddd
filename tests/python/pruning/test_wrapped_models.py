"""`prune_` works on the model inside of wrappers, and without tqdm."""

import sys
from typing import Any

import pytest
import torch
from pare_llm import prune_
from pruning_support import LocalClient, tiny_model, token_batches
from torch import nn


def run(model: nn.Module, **options: Any) -> None:
    prune_(model, token_batches(2), LocalClient(), method="wanda", **{"progress": False, **options})


def test_a_compiled_model_is_pruned() -> None:
    model, expected = tiny_model("llama"), tiny_model("llama")
    run(torch.compile(model))
    run(expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_model_in_data_parallel_is_pruned() -> None:
    model, expected = tiny_model("llama"), tiny_model("llama")
    run(nn.DataParallel(model))
    run(expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_model_with_flattened_parameters_is_refused() -> None:
    class FullyShardedDataParallel(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"shard it with torch\.distributed\.fsdp\.fully_shard instead"):
        run(FullyShardedDataParallel())


def test_a_model_on_the_meta_device_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers[1].to("meta")
    with pytest.raises(ValueError, match=r"model\.layers\.1\.\S+: is on the meta device.*prune_folder"):
        run(model)


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_on_request(progress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny_model("llama"), progress=progress, layers=["down_proj"])
    assert ("3/3" in capsys.readouterr().err) == progress


def test_tqdm_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    model = tiny_model("llama")
    run(model, progress=True, layers=["down_proj"])
    assert int((model.model.layers[0].mlp.down_proj.weight == 0).sum()) == 32 * 48 // 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("states_device", ["cpu", "cuda"])
def test_a_model_on_a_gpu_stays_there(states_device: str) -> None:
    model, expected = tiny_model("llama").cuda(), tiny_model("llama")
    run(model, states_device=states_device)
    run(expected)
    for values, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        assert values.is_cuda
        torch.testing.assert_close(values.cpu(), wanted, rtol=1e-4, atol=1e-5)
