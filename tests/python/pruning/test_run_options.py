"""The options of `prune_` that `pare prune` has too: their meaning, and the same results."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODELS, HostProcess
from pare_llm import LayerResult, Pare, load_state_dict, prune_, prune_folder
from pruning_support import LocalClient, calibration_windows, tiny_model, token_batches, trained_model
from test_experts import pare_prune
from torch import nn


def run(model: nn.Module, client: Any = None, **options: Any) -> Any:
    options = {"method": "wanda", "progress": False, **options}
    return prune_(model, token_batches(2), client or LocalClient(), **options)


def sent(client: LocalClient, report: Any) -> dict[str, dict[str, Any]]:
    """Return the parameters that were sent with each layer, by the last part of the name of the layer."""
    return {layer.name: query for layer, query in zip(report.layers, client.queries, strict=True)}


@pytest.mark.parametrize("name", ["ignore", "skip"])
def test_ignored_layers_stay_dense(name: str) -> None:
    report = run(tiny_model("opt"), layers=["fc1", "fc2"], **{name: ["*.0.*", "2.fc2"]})
    names = [layer.name.removeprefix("model.decoder.layers.") for layer in report.layers]
    assert names == ["1.fc1", "1.fc2", "2.fc1"]
    assert len(report.facts.skipped) == 15
    assert report.to_dict()["parameters"]["skip"] == ["*.0.*", "2.fc2"]
    with pytest.raises(ValueError, match="ignore: 'fc9' matches no layer"):
        run(tiny_model("opt"), **{name: "fc9"})


def test_later_rules_of_a_profile_override_earlier_ones_parameter_by_parameter(tmp_path: Path) -> None:
    rules = [
        {"match": "fc1", "sparsity": 0.3, "damping": 0.1},
        {"match": "*.1.*", "skip": True},
        {"match": "1.fc1", "skip": False, "sparsity": 0.25},
        {"match": "2.fc1", "pattern": "2:4"},
    ]
    client = LocalClient()
    report = run(tiny_model("opt"), client, layers=["fc1", "fc2"], sparsity=0.6, profile=rules)
    assert {name.removeprefix("model.decoder.layers."): q for name, q in sent(client, report).items()} == {
        "0.fc1": {"method": "wanda", "sparsity": 0.3, "damping": 0.1},
        "0.fc2": {"method": "wanda", "sparsity": 0.6},
        "1.fc1": {"method": "wanda", "sparsity": 0.25, "damping": 0.1},
        "2.fc1": {"method": "wanda", "damping": 0.1, "pattern": "2:4"},
        "2.fc2": {"method": "wanda", "sparsity": 0.6},
    }
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(rules))
    by_file = run(tiny_model("opt"), layers=["fc1", "fc2"], sparsity=0.6, profile=file)
    assert [layer.name for layer in by_file.layers] == [layer.name for layer in report.layers]
    assert by_file.to_dict()["parameters"]["profile"] == "profile.json"


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ([{"match": "fc9"}], "profile rule 0: 'fc9' matches no layer"),
        ([{"match": "fc1", "speed": 3}], "profile: rule 0 sets 'speed', which is not one of"),
        ([{"match": "fc1", "dtype": "F16"}], "profile: rule 0 sets 'dtype'"),
        ([{"sparsity": 0.3}], "profile: rule 0 needs a pattern `match`, got None"),
        ([{"match": "fc1", "skip": 1}], "profile: rule 0: skip must be true or false, got 1"),
        ({"match": "fc1"}, "profile: must be a list of rules, got dict"),
    ],
)
def test_a_malformed_profile_is_refused_by_rule(profile: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tiny_model("opt"), profile=profile)


def test_the_callback_gets_the_result_of_each_layer_after_its_weight_was_replaced() -> None:
    model, seen = tiny_model("opt"), []

    def on_layer(result: LayerResult) -> None:
        weight = model.get_parameter(result.weight_name)
        assert int((weight == 0).sum()) == result.report["zeros"]
        seen.append(result)

    assert seen == list(run(model, on_layer=on_layer).layers)


def test_an_error_of_the_callback_ends_the_run() -> None:
    def fail(_: LayerResult) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run(tiny_model("opt"), on_layer=fail)


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_true_sequential_calibrates_each_group_after_the_groups_before_it(kind: str) -> None:
    model, dense, client = tiny_model(kind), tiny_model(kind), LocalClient()
    report = run(model, client, true_sequential=True, token_weights="none")
    names = [layer.name for layer in report.layers]
    assert len(names) == len(client.hessians)
    # The statistics of the output projection see the pruned query, key and value projections.
    sums: list[Any] = []
    attention = dense.model.layers[0].self_attn
    for role in ("q_proj", "k_proj", "v_proj"):
        getattr(attention, role).load_state_dict(getattr(model.model.layers[0].self_attn, role).state_dict())
    attention.o_proj.register_forward_hook(lambda _, args, __: sums.append(args[0].flatten(0, 1)))
    with torch.no_grad():
        for batch in token_batches(2):
            dense(batch)
    x = torch.cat(sums)
    torch.testing.assert_close(client.hessians[3], x.T @ x, rtol=1e-4, atol=1e-4)
    plain = LocalClient()
    run(tiny_model(kind), plain, token_weights="none")
    assert not torch.allclose(plain.hessians[3], client.hessians[3], rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"true_sequential": True}, {"allocate": "owl"}, {"allocate": "error"}, {"target": "dense"}],
)
def test_a_stopped_run_with_options_continues_with_its_journal(options: Any, tmp_path: Path) -> None:
    class Stopping(LocalClient):
        def prune_layer(self, *args: Any, **query: Any) -> Any:
            # The levels of an allocation ask for the error, and the layers do not.
            if not query.get("error") and len([q for q in self.queries if not q.get("error")]) == 9:
                raise ConnectionError
            return super().prune_layer(*args, **query)

    with pytest.raises(ConnectionError):
        run(tiny_model("opt"), Stopping(), journal=tmp_path, **options)
    model, whole, client = tiny_model("opt"), tiny_model("opt"), LocalClient()
    report = run(model, client, journal=tmp_path, **options)
    assert len(client.queries) == 9  # neither the finished layers nor the levels of an allocation
    expected = run(whole, **options)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))
    assert report.facts.allocation == expected.facts.allocation
    with pytest.raises(ValueError, match="is the journal of another run"):
        run(tiny_model("opt"), journal=tmp_path)


def test_the_allocation_by_error_compares_the_errors_on_held_out_batches() -> None:
    class Ranking(LocalClient):
        """Reports errors of wide layers on held-out batches, and errors of the other layers without any."""

        def prune_layer(self, weight: torch.Tensor, **query: Any) -> Any:
            solved = super().prune_layer(weight, **query)
            is_wide = weight.shape[1] > weight.shape[0]
            solved.report["relative_error"] = 0.0 if is_wide else query["sparsity"]
            if self.validation[-1] is not None:
                solved.report["validation_error"] = query["sparsity"] if is_wide else 0.0
            return solved

    for validation in (0, token_batches(1, seed=2)):
        report = run(tiny_model("opt"), Ranking(), allocate="error", validation=validation)
        allocation = report.facts.allocation
        wide = {s < 0.5 for name, s in allocation["sparsities"].items() if name.endswith("fc2.weight")}
        assert wide == {validation != 0}
        assert allocation["notes"][0].endswith(" on held-out batches.") == (validation != 0)


def test_an_allocation_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="allocate: must be uniform, owl or error, got 'best'"):
        run(tiny_model("opt"), allocate="best")
    with pytest.raises(ValueError, match="allocate='owl': needs unstructured sparsity, but the pattern 2:4"):
        run(tiny_model("opt"), allocate="owl", pattern="2:4")
    with pytest.raises(ValueError, match="the profile sets the sparsity or the pattern of all 18 layers"):
        run(tiny_model("opt"), allocate="owl", profile=[{"match": "*", "sparsity": 0.5}])
    with pytest.raises(ValueError, match="allocate='owl' needs at least one batch, got none"):
        prune_(tiny_model("opt"), [], LocalClient(), allocate="owl", method="magnitude", progress=False)


@pytest.mark.parametrize("allocate", ["owl", "error"])
def test_the_allocation_and_the_zeros_are_those_of_the_command_line(
    allocate: Any, host: HostProcess, tmp_path: Path
) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        json.dumps([{"match": "*.0.*q_proj", "sparsity": 0.25}, {"match": "v_proj", "skip": True}])
    )
    options = f"--method sparsegpt --sparsity 0.6 --allocate {allocate} --skip k_proj --true-sequential"
    # The command line stores each pruned weight in the dtype of the checkpoint before it runs the next block.
    dense = tmp_path / "dense"
    trained_model("llama-sotu").save_pretrained(dense)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODELS / "llama-sotu" / file, dense)
    by_command = pare_prune(
        dense, tmp_path / "command", *options.split(), "--profile", str(profile), seqlen=96
    )
    batches = calibration_windows("llama-sotu", 8, 96).split(2)
    arguments: Any = {
        "method": "sparsegpt",
        "sparsity": 0.6,
        "profile": profile,
        "allocate": allocate,
        "ignore": "k_proj",
        "true_sequential": True,
        "validation": 0,
        "progress": False,
    }
    model = trained_model("llama-sotu")
    report = prune_(model, batches, Pare(host.url), **arguments)
    content = report.to_dict()
    for option in ("skip", "profile", "allocate", "true_sequential", "sparsity", "pattern", "method"):
        assert content["parameters"][option] == by_command["parameters"][option], option
    expected = by_command["allocation"]["sparsities"]
    assert content["allocation"]["sparsities"] == pytest.approx(expected, abs=1e-6)
    assert content["skipped"] == by_command["skipped"]
    of_command = {layer["name"]: layer for layer in by_command["layers"]}
    layers = [layer for layer in report.layers if layer.weight_name in expected]
    assert len(layers) == len(report.layers) - 1  # a rule of the profile sets the sparsity of one layer
    entries = sum(layer.report["rows"] * layer.report["cols"] for layer in layers)
    assert sum(layer.report["zeros"] for layer in layers) == round(0.6 * entries)
    pruned = load_state_dict(tmp_path / "command")
    for layer in report.layers:
        assert layer.report["relative_error"] == pytest.approx(
            of_command[layer.weight_name]["relative_error"], rel=0.02
        )
        if layer.block == 0:  # sums in another order change a few masks, and these change later blocks
            zeros = model.get_parameter(layer.weight_name) == 0
            assert (zeros == (pruned[layer.weight_name] == 0)).double().mean() > 0.999, layer.name
    folder = prune_folder(
        dense,
        batches,
        Pare(host.url),
        tmp_path / "folder",
        model_dtype=torch.float32,
        **arguments,
    )
    assert folder.facts.allocation == report.facts.allocation
