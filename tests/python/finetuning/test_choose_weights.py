"""The choice of the weights whose zeros are kept."""

import json
from pathlib import Path

import pytest
import torch
from pare_llm.finetuning.choose_weights import choose_weights
from peft import LoraConfig, get_peft_model
from pruned_networks import PrunedNetwork, tiny_opt
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D


def names(model: nn.Module, **choice: object) -> list[str]:
    return [weight.name for weight in choose_weights(model, **choice)]  # type: ignore[arg-type]


OPT_LAYERS = ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2")


def test_default_is_the_linear_weights_without_norms_biases_and_embeddings() -> None:
    found = names(tiny_opt())
    assert len(found) == 12
    assert all(name.endswith(tuple(f"{layer}.weight" for layer in OPT_LAYERS)) for name in found)
    assert found[0] == "model.decoder.layers.0.self_attn.k_proj.weight"


def test_conv1d_of_transformers_and_the_projections_of_attention_are_linear() -> None:
    model = nn.ModuleDict({"conv": Conv1D(6, 4), "attention": nn.MultiheadAttention(4, 2, kdim=3, vdim=5)})
    model["joint"] = nn.MultiheadAttention(4, 2)
    chosen = choose_weights(model)
    assert [weight.name for weight in chosen] == [
        "conv.weight",
        *(f"attention.{part}_proj_weight" for part in "qkv"),
        "attention.out_proj.weight",
        "joint.in_proj_weight",
        "joint.out_proj.weight",
    ]
    assert [list(weight.layers) for weight in chosen] == [
        ["conv"],
        *([f"attention.{part}_proj"] for part in "qkv"),
        ["attention.out_proj"],
        [f"joint.{part}_proj" for part in "qkv"],
        ["joint.out_proj"],
    ]
    assert names(model, layers="joint.k_proj") == ["joint.in_proj_weight"]
    assert names(model, layers="attention.k_proj") == ["attention.k_proj_weight"]


def test_output_layer_is_excluded_if_it_is_tied_to_the_embedding() -> None:
    assert names(PrunedNetwork()) == ["up.weight", "down.weight"]
    model = PrunedNetwork()
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    assert names(model) == ["up.weight", "down.weight", "head.weight"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("c1", "'c1' matches no layer; an example of a layer is 'up'"),
        (
            "up.bias",
            r"'up\.bias' names up\.bias, which has 1 dimension, and masks cover weights of 2 dimensions",
        ),
        ("norm", r"layers: 'norm' names norm\.weight, which has 1 dimension"),
        ("embedding", r"'embedding' names embedding\.weight, which is an embedding, or is tied to one"),
        ("head", r"'head' names embedding\.weight, which is an embedding, or is tied to one"),
        ("", "a pattern is empty"),
        ("/(/", "is not a regular expression"),
    ],
)
def test_patterns_that_name_no_weight_to_mask_are_refused(layers: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        names(PrunedNetwork(), layers=layers)


def test_other_matrices_are_masked_if_they_are_named() -> None:
    model = nn.Module()
    model.experts = nn.Parameter(torch.ones(3, 4))
    model.linear = nn.Linear(2, 2)
    assert names(model) == ["linear.weight"]
    assert names(model, layers="experts") == ["experts"]


def test_wrappers_do_not_change_the_names() -> None:
    model = tiny_opt()
    expected = names(model)
    assert names(torch.compile(model)) == expected
    wrapped = get_peft_model(tiny_opt(), LoraConfig(target_modules=["q_proj", "fc1"]))
    assert names(wrapped) == expected
    assert names(wrapped, layers="fc1") == [name for name in expected if ".fc1." in name]


def test_adapters_are_refused() -> None:
    model = get_peft_model(tiny_opt(), LoraConfig(target_modules=["fc1"]))
    with pytest.raises(ValueError, match=r"lora_A\.default\.weight, which belongs to an adapter"):
        names(model, layers="lora_A.default")


def test_conv1d_of_gpt2_is_named_as_in_its_checkpoint() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2))
    assert names(model, layers="c_attn") == ["transformer.h.0.attn.c_attn.weight"]


def write_report(folder: Path, *layers: tuple[str, int]) -> Path:
    report = {"layers": [{"name": name, "zeros": zeros} for name, zeros in layers]}
    (folder / "pare.json").write_text(json.dumps(report))
    return folder


def test_report_names_the_weights_with_zeros(tmp_path: Path) -> None:
    name = "model.decoder.layers.1.fc1.weight"
    folder = write_report(tmp_path, ("model.decoder.layers.0.fc1.weight", 0), (name, 64))
    assert names(tiny_opt(), folder=folder) == [name]


def test_report_of_a_checkpoint_with_or_without_the_prefix_of_the_base_model_is_read(tmp_path: Path) -> None:
    short = write_report(tmp_path, ("decoder.layers.1.fc1.weight", 64))
    assert names(tiny_opt(), folder=short) == ["model.decoder.layers.1.fc1.weight"]
    long = write_report(tmp_path, ("model.decoder.layers.1.fc1.weight", 64))
    assert names(tiny_opt().model, folder=long) == ["decoder.layers.1.fc1.weight"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([("other.weight", 1)], "the pruned weight other.weight is not in the model"),
        ([("fc1.weight", 1)], r"the pruned weight fc1\.weight may be .*layers\.0\.fc1.* or .*layers\.1\.fc1"),
        (
            [("model.decoder.embed_tokens.weight", 1)],
            r"the pruned weight \S+embed_tokens\.weight is an embedding",
        ),
        ([("a.fc1.weight", 0)], "lists no layer with zeros"),
    ],
)
def test_report_of_another_model_is_refused(
    tmp_path: Path, layers: list[tuple[str, int]], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"pare\.json: {message}"):
        names(tiny_opt(), folder=write_report(tmp_path, *layers))


def test_report_whose_names_match_one_weight_twice_is_refused(tmp_path: Path) -> None:
    folder = write_report(tmp_path, ("layers.0.fc1.weight", 1), ("layers.1.fc1.weight", 1))
    block = tiny_opt().model.decoder.layers[0]
    with pytest.raises(ValueError, match=r"layers\.0\.fc1\.weight and layers\.1\.fc1\.weight both match fc1"):
        names(block, folder=folder)


def test_folder_without_a_report_and_damaged_reports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pare\.json"):
        names(tiny_opt(), folder=tmp_path)
    for text in ("{", "[]", '{"layers": 3}', '{"layers": [{"name": "x"}]}'):
        (tmp_path / "pare.json").write_text(text)
        with pytest.raises(ValueError, match="is not the report of a run of pare prune"):
            names(tiny_opt(), folder=tmp_path)


def test_layers_and_folder_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layers and folder: only one"):
        names(tiny_opt(), layers="fc1", folder=tmp_path)
