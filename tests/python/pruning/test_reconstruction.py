"""The kept weights of each pruned block are trained, so that its outputs are near the dense outputs."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pare_llm import prune_, prune_folder
from pruning_support import MOE_CONFIGS, TINY_CONFIGS, LocalClient, tiny_model, token_batches
from ranks import run_on_ranks
from test_block_loop import BLOCK_LISTS, padded_batch
from test_prune_folder import tensors_of
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard

BATCHES = 5
"""Two windows each, of which one in eight is held out."""


def run(model: Any, batches: Any = None, **options: Any) -> Any:
    options = {"method": "wanda", "reconstruct": 3, "progress": False, **options}
    return prune_(model, batches or token_batches(BATCHES), LocalClient(), **options)


def zeros(model: nn.Module) -> dict[str, Tensor]:
    return {name: values == 0 for name, values in model.named_parameters() if values.ndim > 1}


@pytest.mark.parametrize("kind", [*TINY_CONFIGS, *MOE_CONFIGS])
def test_every_block_comes_nearer_to_the_dense_block_and_keeps_its_zeros(kind: str) -> None:
    model, pruned, dense = tiny_model(kind), tiny_model(kind), tiny_model(kind)
    report = run(model)
    run(pruned, reconstruct=0)
    blocks = len(model.get_submodule(BLOCK_LISTS.get(kind, "model.layers")))
    assert list(report.reconstructions) == list(range(blocks))
    for each in report.reconstructions.values():
        assert 0 < each.after < each.before
        assert 0 < each.kept_epoch <= each.epochs == 3
    # The masks of later blocks depend on the blocks before them.
    place = f"{BLOCK_LISTS.get(kind, 'model.layers')}.0"
    found = zeros(model.get_submodule(place))
    for name, expected in zeros(pruned.get_submodule(place)).items():
        assert torch.equal(found[name], expected), name
    for name, values in model.named_parameters():
        parameter = dense.get_parameter(name)
        is_router = name.endswith(("mlp.gate.weight", "router.weight", "router.layer.weight", "router.bias"))
        if place not in name or is_router or name.endswith("shared_expert_gate.weight"):
            continue
        # A bias of attention keys changes nothing, and the experts of some tokens may not be used.
        if parameter.ndim == 1 and not name.endswith(("k_proj.bias", "sinks")):
            assert not torch.equal(values, parameter), f"{name} was not trained"
    for name in (n for n, _ in model.named_parameters() if "gate.weight" in n or "router" in n):
        assert torch.equal(model.get_parameter(name), dense.get_parameter(name)), f"{name} was trained"


def outputs_of(model: Any, block: nn.Module, batches: list[Tensor]) -> Tensor:
    """Return the outputs of a block (tokens, hidden) in float64."""
    found: list[Tensor] = []

    def keep(_module: object, _args: object, output: Any) -> None:
        found.append((output if isinstance(output, Tensor) else output[0]).double().flatten(0, -2))

    hook = block.register_forward_hook(keep)
    with torch.no_grad():
        for batch in batches:
            model(batch)
    hook.remove()
    return torch.cat(found)


@pytest.mark.parametrize("target", ["none", "dense"])
@pytest.mark.parametrize("is_held_out", [False, True])
def test_the_errors_are_those_of_whole_forward_passes(target: Any, is_held_out: bool) -> None:
    fitted, held_out = token_batches(BATCHES)[:4], token_batches(BATCHES)[4:]
    measured = held_out if is_held_out else fitted
    model, dense, own = tiny_model("opt"), tiny_model("opt"), tiny_model("opt")
    report = run(model, fitted, validation=held_out if is_held_out else 0, target=target)
    for index, block in enumerate(model.model.decoder.layers):
        found = outputs_of(model, block, measured)
        # Without targets, the wanted outputs are those of the dense block on the inputs of the pruned one.
        of = dense if target == "dense" else own
        wanted = outputs_of(of, of.model.decoder.layers[index], measured)
        error = ((found - wanted).square().sum(-1) / wanted.square().sum(-1)).mean()
        assert report.reconstructions[index].after == pytest.approx(float(error), rel=1e-4)
        own.model.decoder.layers[index].load_state_dict(block.state_dict())


def test_a_block_that_does_not_improve_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = "pare_llm.pruning.reconstruction.block_trainer"
    monkeypatch.setattr(f"{trainer}.LEARNING_RATE", 10.0)
    model, pruned = tiny_model("llama"), tiny_model("llama")
    report = run(model)
    run(pruned, reconstruct=0)
    for each in report.reconstructions.values():
        assert (each.kept_epoch, each.after) == (0, each.before)
    for name, values in pruned.named_parameters():
        assert torch.equal(model.get_parameter(name), values), name


def test_layers_that_are_not_pruned_keep_their_weights() -> None:
    model, dense = tiny_model("opt"), tiny_model("opt")
    report = run(model, layers=["1.fc1", "1.fc2"])
    assert list(report.reconstructions) == [1]
    changed = {
        name.removeprefix("model.decoder.layers.")
        for name, values in model.named_parameters()
        if not torch.equal(values, dense.get_parameter(name))
    }
    assert {name for name in changed if not name.startswith("1.")} == set()
    assert {name for name in changed if dense.get_parameter(f"model.decoder.layers.{name}").ndim > 1} == {
        "1.fc1.weight",
        "1.fc2.weight",
    }


@pytest.mark.parametrize("target", ["none", "dense"])
def test_the_layers_of_a_block_are_rounded_after_it_was_trained(target: Any) -> None:
    client, model, pruned = LocalClient(), tiny_model("opt"), tiny_model("opt")
    options: Any = {"method": "wanda", "layers": ["1.fc1", "1.fc2"], "target": target, "progress": False}
    report = prune_(model, token_batches(BATCHES), client, bits=4, reconstruct=3, **options)
    prune_(pruned, token_batches(BATCHES), LocalClient(), **options)
    assert report.reconstructions[1].after < report.reconstructions[1].before
    # With targets, each of the two layers is first solved with its target and without.
    first = [True, False] * 2 if target == "dense" else [False] * 2
    count = len(first)
    assert [query["method"] for query in client.queries] == ["wanda"] * count + ["sparsegpt"] * 2
    assert [query.get("bits") for query in client.queries] == [None] * count + [4, 4]
    assert [each is not None for each in client.targets] == first + [False] * 2
    assert [each is None for each in client.masks] == [True] * count + [False] * 2
    block = model.model.decoder.layers[1]
    for layer, mask in zip((block.fc1, block.fc2), client.masks[-2:], strict=True):
        assert mask is not None
        assert torch.equal(layer.weight != 0, (layer.weight != 0) & mask)
    fc1 = pruned.model.decoder.layers[1].fc1.weight
    assert torch.equal(fc1 != 0, client.masks[-2]), "the zeros are those of the first solution"
    assert not torch.equal(block.fc2.bias, pruned.model.decoder.layers[1].fc2.bias)
    assert all(
        layer.report["notes"][0].startswith("The layer was first solved by wanda") for layer in report.layers
    )


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_is_not_trained(left: bool) -> None:
    sequences = [token_batches(1, rows=1, tokens=n, seed=n)[0][0] for n in (16, 9, 5)]
    one = run(tiny_model("llama"), [sequence[None] for sequence in sequences])
    both = run(tiny_model("llama"), [padded_batch(sequences, left=left)])
    for index, expected in one.reconstructions.items():
        found = both.reconstructions[index]
        assert (found.before, found.after) == pytest.approx((expected.before, expected.after), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_keep_their_dtype_and_their_zeros(dtype: torch.dtype) -> None:
    model, pruned = tiny_model("llama").to(dtype), tiny_model("llama").to(dtype)
    report = run(model, layers=["*.0.*"], reconstruct=8)
    run(pruned, layers=["*.0.*"], reconstruct=0)
    assert report.reconstructions[0].after < report.reconstructions[0].before
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    for (name, found), expected in zip(zeros(model).items(), zeros(pruned).values(), strict=True):
        assert bool(found[expected].all()), name


@pytest.mark.parametrize("rows", [1, 4, 40])
def test_a_step_has_eight_windows_however_the_batches_are_cut(rows: int) -> None:
    windows = torch.cat(token_batches(20))
    expected, model = tiny_model("opt"), tiny_model("opt")
    first = run(expected, windows.split(8), validation=0)
    second = run(model, windows.split(rows), validation=0)
    for index, each in first.reconstructions.items():
        assert second.reconstructions[index].after == pytest.approx(each.after, rel=1e-3)


def test_the_report_has_the_errors_of_each_block(tmp_path: Path) -> None:
    content = run(tiny_model("opt")).to_dict()
    assert content["parameters"]["reconstruct"] == 3
    assert [each["block"] for each in content["blocks"]] == [0, 1, 2]
    assert content["blocks"][0]["reconstruction"].keys() == {"epochs", "before", "after", "kept_epoch"}
    seconds = content["seconds"]
    assert seconds["total"] == seconds["calibration"] + seconds["layers"] + seconds["reconstruction"]
    assert "blocks" not in run(tiny_model("opt"), reconstruct=0).to_dict()


def trained_on_rank() -> Any:
    model = tiny_model("opt")
    batches = token_batches(BATCHES)[dist.get_rank() :: 2]
    return run(model, batches, validation=0), {n: p.detach() for n, p in model.named_parameters()}


def test_ranks_end_with_the_same_bits() -> None:
    (report, state), (other, other_state) = run_on_ranks(trained_on_rank, 2)
    single = run(tiny_model("opt"), validation=0)
    assert {i: (e.before, e.after, e.kept_epoch) for i, e in report.reconstructions.items()} == {
        i: (e.before, e.after, e.kept_epoch) for i, e in other.reconstructions.items()
    }
    assert all(torch.equal(values, other_state[name]) for name, values in state.items())
    # The steps have other windows than on one rank.
    for index, each in single.reconstructions.items():
        assert report.reconstructions[index].before == pytest.approx(each.before, rel=1e-2)
        assert report.reconstructions[index].after < report.reconstructions[index].before


@pytest.mark.parametrize(("target", "bits"), [("none", None), ("dense", None), ("none", 4)])
@pytest.mark.parametrize("stopped", ["in the second block", "in the training"])
def test_a_stopped_run_continues_with_the_same_bytes(
    stopped: str, target: Any, bits: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune = partial(run, bits=bits)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    whole = tiny_model("opt")
    expected = prune(whole, target=target)
    with monkeypatch.context() as patch:
        if stopped == "in the training":
            patch.setattr("pare_llm.pruning.journal.Journal.record_block", stop)
        calls = iter(range(9))
        on_layer = (lambda _: next(calls, None) is None and stop()) if stopped != "in the training" else None
        with pytest.raises(KeyboardInterrupt):
            prune(tiny_model("opt"), target=target, journal=tmp_path, on_layer=on_layer)
    model = tiny_model("opt")
    report = prune(model, target=target, journal=tmp_path)
    for name, values in whole.named_parameters():
        assert torch.equal(model.get_parameter(name), values), name
    for index, each in expected.reconstructions.items():
        found = report.reconstructions[index]
        assert (found.before, found.after, found.kept_epoch) == (each.before, each.after, each.kept_epoch)
    # A finished block is not trained again, unless its file is damaged.
    with monkeypatch.context() as patch:
        patch.setattr("pare_llm.pruning.reconstruction.reconstruct.BlockTrainer", stop)
        again = tiny_model("opt")
        prune(again, target=target, journal=tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))
        # A rounded layer is made from a trained block.
        kind = "layers/model.decoder.layers.1.fc1" if bits else "blocks/model.decoder.layers.1"
        file = tmp_path / f"{kind}.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(KeyboardInterrupt):
            prune(tiny_model("opt"), target=target, journal=tmp_path)
    again = tiny_model("opt")
    prune(again, target=target, journal=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))
    with pytest.raises(ValueError, match="reconstruct was 3 and is 4"):
        prune(tiny_model("opt"), target=target, journal=tmp_path, reconstruct=4)


@pytest.mark.parametrize("kind", ["opt", "mixtral"])
def test_a_folder_gets_the_parameters_of_a_model_in_memory(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind)
    model.save_pretrained(tmp_path / "dense")
    run(model)
    options: Any = {"method": "wanda", "reconstruct": 3, "progress": False}
    prune_folder(tmp_path / "dense", token_batches(BATCHES), LocalClient(), tmp_path / "pruned", **options)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "pruned", dtype=torch.float32)
    for name, values in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), values), name
    assert tensors_of(tmp_path / "pruned").keys() == tensors_of(tmp_path / "dense").keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruct": -1}, "reconstruct: must be a number of epochs that is at least 0, got -1"),
        ({"reconstruct": 2.5}, "reconstruct: must be a number of epochs that is at least 0, got 2.5"),
        (
            {"sparsity": 0, "bits": 4},
            "reconstruct=3: trains blocks before they are rounded, so with sparsity=0",
        ),
    ],
)
def test_options_that_do_not_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tiny_model("opt"), **options)


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(ValueError, match="reconstruct=3: needs gradients, which"):
        run(tiny_model("opt"))


def sharded_on_rank() -> None:
    model = tiny_model("opt")
    fully_shard(model)
    with pytest.raises(ValueError, match="reconstruct=3: does not work with a model that fully_shard has"):
        run(model)


def test_a_sharded_model_is_refused() -> None:
    run_on_ranks(sharded_on_rank, 2)
