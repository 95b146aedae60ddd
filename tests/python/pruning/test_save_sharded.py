"""`save_sharded` writes a sharded model without gathering it, and transformers loads the same weights."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from pare_llm import load_state_dict, save_sharded
from pruning_support import tiny_model
from ranks import run_on_ranks
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

KINDS = ("llama", "opt", "mixtral")


def model_of(kind: str) -> Any:
    """Return a model whose embeddings cannot be divided evenly among the ranks. Those of OPT are tied."""
    model = tiny_model(kind)
    model.resize_token_embeddings(97, mean_resizing=False)
    return model


def sharded(kind: str, mesh: Any = None) -> Any:
    model = model_of(kind)
    for block in model.get_decoder().layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def save_all(folder: Path) -> dict[str, str]:
    """Save each kind, one with replicas and one without shards, and return the errors of two failures."""
    for kind in KINDS:
        save_sharded(sharded(kind), folder / kind)
    replicated = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    save_sharded(sharded("llama", replicated), folder / "replicated")
    save_sharded(model_of("llama"), folder / "whole")
    errors: dict[str, str] = {}
    with pytest.raises((FileExistsError, RuntimeError)) as raised:
        save_sharded(sharded("llama"), folder / "llama")
    errors["exists"] = repr(raised.value)
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    dist.barrier()
    if dist.get_rank() == 2:
        (broken / "model-00003-of-00004.safetensors.partial").mkdir()
    dist.barrier()
    with pytest.raises((OSError, RuntimeError)) as raised:
        save_sharded(sharded("llama"), broken)
    errors["broken"] = repr(raised.value)
    half = dist.new_group([0, 1])
    if dist.get_rank() < 2:
        with pytest.raises(ValueError, match="the ranks of the group have ") as raised:
            save_sharded(sharded("llama"), folder / "half", group=half)
        errors["half"] = repr(raised.value)
    return errors


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """Return the folders that four ranks wrote, and the errors of each rank."""
    folder = tmp_path_factory.mktemp("saved")
    return folder, run_on_ranks(save_all, 4, folder)


@pytest.mark.parametrize("name", [*KINDS, "replicated", "whole"])
def test_transformers_loads_the_weights_that_four_ranks_wrote(name: str, saved: tuple[Path, Any]) -> None:
    folder = saved[0] / name
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    model = model_of(name if name in KINDS else "llama")
    assert type(loaded) is type(model)
    for (parameter, values), expected in zip(loaded.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(values, expected), parameter


def test_every_rank_writes_a_file_of_about_the_same_size(saved: tuple[Path, Any]) -> None:
    folder = saved[0] / "llama"
    sizes = [path.stat().st_size for path in sorted(folder.glob("model-*-of-00004.safetensors"))]
    assert len(sizes) == 4
    assert max(sizes) < 1.3 * min(sizes)
    tensors = load_state_dict(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors.keys()
    assert index["metadata"]["total_size"] == sum(values.nbytes for values in tensors.values())


def test_tied_weights_are_stored_once(saved: tuple[Path, Any]) -> None:
    assert "lm_head.weight" not in load_state_dict(saved[0] / "opt")


def test_a_group_without_all_shards_is_refused(saved: tuple[Path, Any]) -> None:
    assert ["half" in errors for errors in saved[1]] == [True, True, False, False]
    assert not list((saved[0] / "half").iterdir())


def test_a_model_of_another_library_gets_no_config(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    model.config = {"width": 3}  # type: ignore[assignment]
    save_sharded(model, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_a_model_with_adapters_is_refused(tmp_path: Path) -> None:
    model = peft.get_peft_model(model_of("llama"), peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(TypeError, match="has adapters of peft"):
        save_sharded(model, tmp_path / "out")


def test_a_failure_on_one_rank_ends_all_ranks_and_leaves_no_index(saved: tuple[Path, Any]) -> None:
    folder, results = saved
    first, *others = [result["exists"] for result in results]
    assert first.startswith("FileExistsError(")
    assert all("rank 0 of 4 failed: FileExistsError" in error for error in others)
    broken = [result["broken"] for result in results]
    assert broken[2].startswith("IsADirectoryError(")
    assert all("rank 2 of 4 failed: IsADirectoryError" in broken[rank] for rank in (0, 1, 3))
    assert not (folder / "broken/model.safetensors.index.json").exists()
