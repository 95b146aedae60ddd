"""`prune_folder` prunes a checkpoint with one block in memory, and gives the weights of `prune_`."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from conftest import MODELS, HostProcess
from pare_llm import PruneReport
from pruning_support import (
    LocalClient,
    StoppingClient,
    calibration_windows,
    require_equal,
    require_memory_of_one_block,
    tiny_model,
    token_batches,
)
from pruning_support import run as prune
from pruning_support import run_folder as run
from ranks import run_on_ranks
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch import distributed as dist


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


@pytest.mark.parametrize("name", ["opt-sotu", "llama-sotu", "bloom-sotu"])
def test_the_weights_are_those_of_a_model_in_memory(name: str, tmp_path: Path) -> None:
    batches = list(calibration_windows(name, 2, 64).split(1))
    report = run(MODELS / name, tmp_path, batches=batches, model_dtype=torch.float32)
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32)
    expected = prune(model, batches=batches)
    dense, pruned = tensors_of(MODELS / name), tensors_of(tmp_path)
    assert dense.keys() == pruned.keys()
    names = {layer.weight_name for layer in expected.layers}
    for tensor, values in dense.items():
        in_memory = model.state_dict()[tensor].to(values.dtype) if tensor in names else values
        assert pruned[tensor].dtype == values.dtype
        assert torch.equal(pruned[tensor], in_memory), tensor
    assert [layer.report for layer in report.layers] == [layer.report for layer in expected.layers]
    assert report.to_dict()["model"]["name"] == name


def test_the_output_is_a_checkpoint_that_transformers_loads(tmp_path: Path) -> None:
    batches = list(calibration_windows("llama-sotu", 2, 64).split(1))
    report = run(MODELS / "llama-sotu", tmp_path, batches=batches)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    weights = [model.get_parameter(layer.weight_name) for layer in report.layers]
    assert sum(int((weight == 0).sum()) for weight in weights) >= report.zeros
    assert (tmp_path / "tokenizer.json").read_bytes() == (MODELS / "llama-sotu/tokenizer.json").read_bytes()
    content = json.loads((tmp_path / "pare.json").read_text())
    assert len(content["layers"]) == len(report.layers) == 28
    sizes = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert content["bytes"] == {"dense": sizes, "written": sizes}


def saved(kind: str, folder: Path) -> Path:
    tiny_model(kind).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "phi3", "gpt_neox", "gemma3_text", "opt"])
def test_other_families_are_pruned_from_their_folders(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind)
    prune(model)
    run(saved(kind, tmp_path / "dense"), tmp_path / "pruned")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "pruned", dtype=torch.float32)
    require_equal(loaded, model)


def test_the_files_in_folders_are_copied_but_no_other_checkpoint_and_no_link(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path / "model")
    out = folder / "pruned"
    for name in ("assets/deep/figure.svg", ".git/HEAD", "other/config.json", "other/a", "assets/weights.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "link").symlink_to(tmp_path)
    run(folder, out, batches=[torch.arange(16).view(2, 8)])
    copied = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    assert [name for name in copied if "/" in name] == ["assets/deep/figure.svg"]
    assert (out / "assets/deep/figure.svg").read_text() == "assets/deep/figure.svg"


def test_names_without_the_prefix_of_the_base_model_are_found(tmp_path: Path) -> None:
    dense = saved("gpt2", tmp_path / "dense")
    tensors = tensors_of(dense)
    shutil.copytree(dense, tmp_path / "short")
    short = {name.removeprefix("transformer."): values for name, values in tensors.items()}
    save_file(short, tmp_path / "short/model.safetensors", metadata={"format": "pt"})
    run(dense, tmp_path / "a")
    run(tmp_path / "short", tmp_path / "b")
    first, second = tensors_of(tmp_path / "a"), tensors_of(tmp_path / "b")
    assert second.keys() == short.keys()
    for name, values in first.items():
        assert torch.equal(second[name.removeprefix("transformer.")], values)


def test_a_checkpoint_that_lacks_a_parameter_is_refused_by_name(tmp_path: Path) -> None:
    dense = saved("qwen3", tmp_path / "dense")
    tensors = tensors_of(dense)
    name = "model.layers.2.mlp.up_proj.weight"
    save_file({n: v for n, v in tensors.items() if n != name}, dense / "model.safetensors")
    with pytest.raises(ValueError, match=f"lacks the parameter {name}"):
        run(dense, tmp_path / "pruned")
    save_file({**tensors, name: tensors[name][:8]}, dense / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} must have the shape \(48, 32\), not \(8, 32\)"):
        run(dense, tmp_path / "pruned")


def test_one_weight_file_is_read_rather_than_shards_beside_it(tmp_path: Path) -> None:
    dense = saved("opt", tmp_path / "dense")
    tensors = tensors_of(dense)
    save_file({name: values + 1 for name, values in tensors.items()}, dense / "stale.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "stale.safetensors")}
    (dense / "model.safetensors.index.json").write_text(json.dumps(index))
    model = transformers.AutoModelForCausalLM.from_pretrained(dense)  # which shows the file that must be read
    run(dense, tmp_path / "pruned")
    name = "model.decoder.embed_tokens.weight"
    assert torch.equal(tensors_of(tmp_path / "pruned")[name], model.state_dict()[name])


def test_a_malformed_checkpoint_is_refused_by_file_and_tensor(tmp_path: Path) -> None:
    dense = saved("opt", tmp_path / "dense")
    file = dense / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"model\.safetensors: the file has \d+ bytes, but its tensors"):
        run(dense, tmp_path / "pruned")
    file.rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (dense / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"outside\.safetensors\", which is not in the folder"):
        run(dense, tmp_path / "pruned")


def test_an_existing_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    dense = saved("opt", tmp_path / "dense")
    for out in (dense, tmp_path / "pruned"):
        if out != dense:
            run(dense, out)
        before = tensors_of(out)
        with pytest.raises(FileExistsError, match="already has a checkpoint"):
            run(dense, out)
        assert all(torch.equal(values, before[name]) for name, values in tensors_of(out).items())


def test_a_stopped_run_continues_with_its_journal(tmp_path: Path) -> None:
    dense = saved("opt", tmp_path / "dense")
    out, journal = tmp_path / "pruned", tmp_path / "journal"
    with pytest.raises(ConnectionError):
        run(dense, out, StoppingClient(9), journal=journal)
    assert not (out / "model.safetensors.index.json").exists()
    client = LocalClient()
    report = run(dense, out, client, journal=journal)
    assert (len(client.hessians), len(report.layers), report.facts.resumed) == (9, 18, 1)
    run(dense, tmp_path / "whole")
    for path in (tmp_path / "whole").glob("*.safetensors"):
        assert path.read_bytes() == (out / path.name).read_bytes()
    tensors = tensors_of(dense)
    save_file({name: values + 1 for name, values in tensors.items()}, dense / "model.safetensors")
    with pytest.raises(ValueError, match="model was sha256:"):
        run(dense, tmp_path / "other", journal=journal)


def prune_on_rank(dense: Path, out: Path) -> PruneReport:
    batches = token_batches(4)[dist.get_rank() :: 2]
    return run(dense, out, batches=batches)


def test_two_ranks_prune_one_folder(tmp_path: Path) -> None:
    dense = saved("llama", tmp_path / "dense")
    first, second = run_on_ranks(prune_on_rank, 2, dense, tmp_path / "two")
    assert first.layers == second.layers
    run(dense, tmp_path / "one", batches=token_batches(4))
    for name, values in tensors_of(tmp_path / "one").items():
        torch.testing.assert_close(tensors_of(tmp_path / "two")[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory of a process is read from /proc")
def test_the_memory_is_that_of_one_block_with_its_statistics(host: HostProcess) -> None:
    require_memory_of_one_block(host, "--blocks", "8")
