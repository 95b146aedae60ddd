"""Mixtures of experts whose weights are parameters of three dimensions, as in transformers 5, are pruned."""

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import MODELS, PARE, HostProcess, run_deno
from pare_llm import HessianRecorder, Pare, keep_zeros, prune_, prune_folder, verify
from pruning_support import LocalClient, calibration_windows, text_files, tiny_model, token_batches
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import silu

# Families whose checkpoints have one tensor for each layer of each expert.
SEPARATE = ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe"]

# The roles of the layers of Mixtral, by their names in checkpoints.
ROLES = {"w1": "gate", "w3": "up", "w2": "down"}


def run(model: nn.Module, client: Any = None, **options: Any) -> Any:
    """Prune a model with the solver of this process. Warnings fail the test, except those of few tokens."""
    options = {"method": "wanda", "progress": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "prune_: fewer calibration tokens than columns")
        return prune_(model, options.pop("batches", token_batches(3)), client or LocalClient(), **options)


def saved(model: Any, folder: Path) -> dict[str, Tensor]:
    """Save a model as transformers does, and return the tensors of the checkpoint."""
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", SEPARATE)
def test_each_layer_of_each_expert_loses_half_of_its_weights_and_has_its_name_in_checkpoints(
    kind: str, tmp_path: Path
) -> None:
    model = tiny_model(kind)
    report = run(model)
    tensors = saved(model, tmp_path)
    in_blocks = {name for name, values in tensors.items() if ".layers." in name and values.ndim == 2}
    routers = {name for name in in_blocks if name.endswith((".gate.weight", "shared_expert_gate.weight"))}
    assert {layer.weight_name for layer in report.layers} == in_blocks - routers
    assert len(routers) == (4 if kind == "qwen2_moe" else 2)
    for name in in_blocks:
        zeros = int((tensors[name] == 0).sum())
        assert zeros == (0 if name in routers else tensors[name].numel() // 2), name
    assert report.facts.skipped == []


@pytest.mark.parametrize("kind", ["gpt_oss", "granitemoe"])
def test_experts_that_checkpoints_store_together_are_pruned_too(kind: str) -> None:
    model = tiny_model(kind)
    report = run(model)
    assert len(report.layers) == 2 * (4 + 4 * 3)
    module = next(m for m in model.modules() if type(m).__name__.endswith("Experts"))
    for expert in range(4):
        gate_up, down = module.gate_up_proj[expert], module.down_proj[expert]
        if kind == "gpt_oss":  # stored as (in, out), with alternating columns of gate and up
            gate_up, down = gate_up.T, down.T
            gate, up = gate_up[::2], gate_up[1::2]
        else:
            gate, up = gate_up.chunk(2)
        for weight in (gate, up, down):
            assert (weight == 0).sum(1).tolist() == [weight.shape[1] // 2] * len(weight)
    assert verify(model).ok
    assert not verify(model, "2:4").ok


def reference_statistics(model: Any, block: int, batches: list[Tensor]) -> dict[str, tuple[Tensor, int]]:
    """Return H in float64 and the number of tokens of each layer of the experts of a block."""
    found: dict[str, Any] = {}

    def add(module: Any, args: tuple[Tensor, Tensor, Tensor], _: object) -> None:
        states, chosen, _ = args
        for expert in range(module.num_experts):
            x = states[(chosen == expert).any(-1)].double()
            gate, up = (x @ module.gate_up_proj[expert].double().T).chunk(2, dim=-1)
            for role, values in (("gate", x), ("up", x), ("down", silu(gate) * up)):
                sums, tokens = found.get(f"{expert}.{role}", (0, 0))
                found[f"{expert}.{role}"] = (sums + values.T @ values, tokens + len(values))

    hook = model.model.layers[block].mlp.experts.register_forward_hook(add)
    with torch.no_grad():
        for batch in batches:
            model(batch, use_cache=False)
    hook.remove()
    return found


@pytest.mark.parametrize("kind", SEPARATE)
def test_the_statistics_of_an_expert_sum_over_the_tokens_that_are_routed_to_it(kind: str) -> None:
    model, batches, client = tiny_model(kind), token_batches(3), LocalClient()
    dense = copy.deepcopy(model)
    report = run(model, client, batches=batches, token_weights="none")
    compared = 0
    for block in range(2):
        expected = reference_statistics(dense, block, batches)
        for layer, hessian in zip(report.layers, client.hessians, strict=True):
            parts = layer.name.split(".")
            if layer.block == block and parts[-3] == "experts":
                role = ROLES.get(parts[-1], parts[-1].removesuffix("_proj"))
                wanted, tokens = expected[f"{parts[-2]}.{role}"]
                assert layer.tokens == tokens > 0
                assert (hessian.double() - wanted).abs().max() < 1e-5 * wanted.abs().max(), layer.name
                compared += 1
            elif layer.block == block:
                assert layer.tokens is None
        # The next block is calibrated with the pruned weights of this one.
        dense.model.layers[block].load_state_dict(model.model.layers[block].state_dict())
    assert compared == 2 * 3 * dense.model.layers[0].mlp.experts.num_experts


def test_gate_and_up_of_an_expert_share_their_statistics() -> None:
    client = LocalClient()
    run(tiny_model("mixtral"), client)
    assert client.put_count == 2 * (1 + 4)  # the projections of attention, and four experts


def test_padding_is_left_out_of_the_statistics_of_experts() -> None:
    model, plain, padded = tiny_model("qwen3_moe"), LocalClient(), LocalClient()
    tokens = token_batches(1)[0]
    with_padding = torch.cat([tokens, torch.zeros(2, 3, dtype=tokens.dtype)], dim=1)
    mask = (with_padding != 0).long()
    run(copy.deepcopy(model), plain, batches=[tokens])
    run(model, padded, batches=[{"input_ids": with_padding, "attention_mask": mask}])
    for found, wanted in zip(padded.hessians, plain.hessians, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_few_tokens_raise_the_damping_and_no_token_leaves_the_choice_to_the_magnitudes() -> None:
    model, client = tiny_model("qwen3_moe"), LocalClient()
    dense = copy.deepcopy(model)
    report = run(model, client, batches=[token_batches(1)[0][:1, :3]], method="sparsegpt", damping=0.02)
    unreached = 0
    for layer, hessian, query in zip(report.layers, client.hessians, client.queries, strict=True):
        notes = layer.report["notes"]
        if layer.tokens is None:
            assert query["damping"] == 0.02
            assert notes == []
        elif layer.tokens == 0:
            unreached += 1
            assert query["damping"] == 0.02
            assert torch.equal(hessian, torch.eye(len(hessian)))
            assert notes[0].startswith("No calibration token reached this layer")
        else:
            assert query["damping"] == 1
            assert notes[0].startswith(f"Only {layer.tokens} calibration tokens reached this layer, which")
    assert unreached > 0
    assert report.to_dict()["layers"][4]["tokens"] == report.layers[4].tokens
    before, after = (each.model.layers[0].mlp.experts.down_proj for each in (dense, model))
    assert not torch.equal(before, after)


def test_patterns_choose_experts_by_their_names_in_checkpoints() -> None:
    report = run(tiny_model("mixtral"), layers=["*.experts.2.w?", "w1"], ignore="*.layers.1.*")
    names = [layer.name.removeprefix("model.layers.0.block_sparse_moe.experts.") for layer in report.layers]
    assert names == ["0.w1", "1.w1", "2.w1", "2.w3", "3.w1", "2.w2"]


class Unknown(nn.Module):
    """A block with a linear layer, and a matrix that is a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.mixing = nn.Parameter(torch.randn(2, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x @ self.mixing[0]) @ self.mixing[1]


def test_a_matrix_that_stays_outside_is_named_in_a_warning_in_the_report_and_by_verify() -> None:
    model = nn.Sequential(nn.Embedding(96, 8), nn.ModuleList([Unknown(), Unknown()]))
    model.forward = lambda x: model[1][1](model[1][0](model[0](x)))  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match=r"leaves '1\.0\.mixing', '1\.1\.mixing' dense"):
        report = prune_(model, token_batches(1), LocalClient(), method="wanda", progress=False)
    assert report.facts.skipped == ["1.0.mixing", "1.1.mixing"]
    result = verify(model)
    assert result.ok
    assert result.unchecked == ["1.0.mixing", "1.1.mixing"]
    assert "not checked: 1.0.mixing, 1.1.mixing" in str(result)
    with torch.no_grad():
        model[1][1].mixing[0, 0] = 0.0
    with pytest.warns(UserWarning, match=r"keep_zeros: does not keep the zeros of '1\.1\.mixing'"):
        keep_zeros(model, torch.optim.SGD(model.parameters()))


def test_verify_checks_each_layer_of_each_expert() -> None:
    model = tiny_model("mixtral")
    run(model)
    result = verify(model)
    assert result.ok
    assert len(result.counts) == 2 * (4 + 4 * 3)
    with torch.no_grad():
        model.model.layers[1].mlp.experts.gate_up_proj[2, 30] = 1.0  # row 6 of the layer up
    name = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    assert list(verify(model).failures) == [name]
    assert verify(model, layers="w1").ok
    assert list(verify(model, layers="experts.2.w3").counts) == [name.replace("1", "0", 1), name]


def test_training_keeps_the_zeros_of_experts() -> None:
    model = tiny_model("mixtral").train()
    run(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with keep_zeros(model, optimizer) as zeros:
        for batch in token_batches(2):
            model(batch, labels=batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        assert zeros.verify().ok
    assert verify(model).ok
    assert int((model.model.layers[0].mlp.gate.weight == 0).sum()) == 0


def test_the_recorder_records_experts_in_a_training_step() -> None:
    model, batches = tiny_model("mixtral").train(), token_batches(2)
    expected = reference_statistics(model, 1, batches)
    with HessianRecorder(model, layers="*.layers.1.*experts*", token_weights="none") as recorder:
        for batch in batches:
            model(batch, labels=batch).loss.backward()
    assert len(recorder.hessians) == 12
    for name, hessian in recorder.hessians.items():
        expert, layer = name.split(".")[-2:]
        wanted, tokens = expected[f"{expert}.{ROLES[layer]}"]
        assert hessian.tokens == tokens
        assert (hessian.matrix.double() - wanted).abs().max() < 1e-5 * wanted.abs().max()
        assert recorder.layers[name].weight.shape[1] == recorder.layers[name].in_features


@pytest.mark.parametrize("kind", [*SEPARATE, "gpt_oss"])
def test_a_folder_is_pruned_as_the_model_in_memory(kind: str, tmp_path: Path) -> None:
    dense = saved(tiny_model(kind), tmp_path / "dense")
    model = tiny_model(kind)
    expected = run(model, batches=token_batches(2))
    in_memory = saved(model, tmp_path / "memory")
    folders, options = [tmp_path / "dense", tmp_path / "pruned"], {"method": "wanda", "progress": False}
    report = prune_folder(folders[0], token_batches(2), LocalClient(), folders[1], **options)
    tensors: dict[str, Tensor] = {}
    for path in sorted((tmp_path / "pruned").glob("*.safetensors")):
        tensors.update(load_file(path))
    assert tensors.keys() == dense.keys()
    for name, values in in_memory.items():
        assert torch.equal(tensors[name], values), name
    assert [layer.name for layer in report.layers] == [layer.name for layer in expected.layers]


def random_checkpoint(kind: str, folder: Path) -> Path:
    """Write a random mixture of experts with the tokenizer of a trained model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODELS / "llama-sotu")
    model = tiny_model(kind, seed=4, vocab_size=len(tokenizer), max_position_embeddings=128)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        if (MODELS / "llama-sotu" / file).exists():
            shutil.copy(MODELS / "llama-sotu" / file, folder)
    return folder


def pare_prune(model: Path, out: Path, *options: str, seqlen: int = 64) -> dict[str, Any]:
    """Prune a folder with eight windows and the command line, and return its report."""
    text = ["--calibration", text_files()["calibration"], "--samples", "8", "--seqlen", str(seqlen)]
    run_deno(PARE, "prune", model, "--out", out, *text, "--validation", "0", "--backend", "cpu", *options)
    content: dict[str, Any] = json.loads((out / "pare.json").read_text())
    return content


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "olmoe"])
def test_the_result_is_that_of_the_command_line(kind: str, host: HostProcess, tmp_path: Path) -> None:
    dense = random_checkpoint(kind, tmp_path / "dense")
    by_command = pare_prune(dense, tmp_path / "command", "--method", "sparsegpt")
    model = transformers.AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32).eval()
    batches = calibration_windows("llama-sotu", 8, 64).split(2)
    report = run(model, Pare(host.url), batches=batches, validation=0, method="sparsegpt")
    of_command = {layer["name"]: layer for layer in by_command["layers"]}
    assert {layer.weight_name for layer in report.layers} == of_command.keys()
    for layer in report.layers:
        assert layer.report["zeros"] == of_command[layer.weight_name]["zeros"]
        assert layer.tokens == of_command[layer.weight_name].get("tokens"), layer.name
        assert layer.report["notes"] == of_command[layer.weight_name]["notes"]
    tensors, expected = saved(model, tmp_path / "saved"), load_file(tmp_path / "command/model.safetensors")
    assert tensors.keys() == expected.keys()
    for name, values in tensors.items():
        agreement = ((values == 0) == (expected[name] == 0)).double().mean()
        assert agreement > 0.98, f"{name}: {agreement}"
    # Both results are checked, and trained further, by the names in the report of the command line.
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "command", dtype=torch.float32)
    assert verify(loaded, folder=tmp_path / "command").ok
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=1e-2)
    with keep_zeros(loaded, optimizer, folder=tmp_path / "command"):
        loaded(batches[0], labels=batches[0]).loss.backward()
        optimizer.step()
    assert verify(loaded, folder=tmp_path / "command").ok
