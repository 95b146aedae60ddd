"""`find_layers` and `choose_layers` find the layers to record."""

import pytest
import torch
from pare_llm import HessianRecorder
from pare_llm.layers.find_layers import choose_layers, find_layers
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

NAMES = ["embed", "layers.0.self_attn.q_proj", "layers.0.fc1", "layers.10.fc1", "layers.10.fc2"]


def test_finds_linear_conv1d_and_the_projections_of_attention() -> None:
    model = nn.Sequential(
        nn.Embedding(7, 8), nn.Linear(8, 6), Conv1D(4, 6), nn.LayerNorm(4), nn.MultiheadAttention(4, 2)
    )
    layers = find_layers(model)
    shapes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}
    assert shapes == {
        "1": (6, 8),
        "2": (4, 6),
        "4.q_proj": (4, 4),
        "4.k_proj": (4, 4),
        "4.v_proj": (4, 4),
        "4.out_proj": (4, 4),
    }
    assert {name: layer.in_features for name, layer in layers.items()} == {
        name: shape[1] for name, shape in shapes.items()
    }


def test_weights_are_views_that_compute_what_the_module_computes() -> None:
    conv = Conv1D(5, 3)
    layer = find_layers(conv)[""]
    x = torch.randn(2, 3)
    assert torch.allclose(functional.linear(x, layer.weight, conv.bias), conv(x))
    with torch.no_grad():
        layer.weight[4, 2] = 7
    assert conv.weight[2, 4] == 7


@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 10}], ids=["joint", "separate"])
def test_weights_of_attention_are_rows_of_its_parameters(sizes: dict[str, int]) -> None:
    attention = nn.MultiheadAttention(8, 2, **sizes)
    layers = find_layers(nn.ModuleDict({"attention": attention}))
    assert layers["attention.k_proj"].in_features == sizes.get("kdim", 8)
    assert layers["attention.v_proj"].in_features == sizes.get("vdim", 8)
    if not sizes:
        stacked = torch.cat([layers[f"attention.{name}_proj"].weight for name in "qkv"])
        assert torch.equal(stacked, attention.in_proj_weight)
    with torch.no_grad():
        layers["attention.v_proj"].weight.zero_()
    weight = attention.in_proj_weight[16:] if not sizes else attention.v_proj_weight
    assert not weight.any()
    assert layers["attention.out_proj"].weight is attention.out_proj.weight


def test_a_module_with_two_names_is_one_layer() -> None:
    shared = nn.Linear(3, 3)
    layers = find_layers(nn.ModuleDict({"first": shared, "second": shared}))
    assert layers["first"] is layers["second"]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("fc1", ["layers.0.fc1", "layers.10.fc1"]),
        ("0.fc1", ["layers.0.fc1"]),
        ("fc1.weight", ["layers.0.fc1", "layers.10.fc1"]),
        ("layers.?.*", ["layers.0.self_attn.q_proj", "layers.0.fc1"]),
        (r"/10\.fc[12]\.weight$/", ["layers.10.fc1", "layers.10.fc2"]),
        (["fc2", "q_proj", "fc2"], ["layers.0.self_attn.q_proj", "layers.10.fc2"]),
    ],
)
def test_patterns_choose_layers_in_the_order_of_the_model(
    pattern: str | list[str], chosen: list[str]
) -> None:
    assert choose_layers(NAMES, pattern) == chosen


def test_a_whole_name_means_this_layer_only() -> None:
    assert choose_layers(["fc1", "block.fc1"], ["fc1"]) == ["fc1"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("c1", "'c1' matches no layer; an example of a layer is 'embed'"),
        ("", "a pattern is empty"),
        ("/(/", r"'/\(/' is not a regular expression"),
    ],
)
def test_refuses_patterns_that_match_nothing(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_layers(NAMES, [pattern])


def test_refuses_a_model_without_linear_layers() -> None:
    with pytest.raises(ValueError, match="LayerNorm has no linear layer"):
        HessianRecorder(nn.LayerNorm(3))
