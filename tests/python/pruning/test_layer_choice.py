"""`layers=` and `blocks=` choose what `prune_` prunes, and embeddings and heads are never pruned."""

from typing import Any

import pytest
import torch
from pare_llm import prune_
from pruning_support import LocalClient, require_equal, run, tiny_model, token_batches
from torch import Tensor, nn


def pruned_names(model: nn.Module) -> set[str]:
    """Return the names of the matrices of which exactly half is zero."""
    return {
        name.removesuffix(".weight")
        for name, values in model.named_parameters()
        if values.ndim == 2 and int((values == 0).sum()) == values.numel() // 2
    }


def test_all_linear_layers_of_the_blocks_are_pruned_by_default() -> None:
    model = tiny_model("llama")
    report = run(model)
    names = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert pruned_names(model) == {layer.name for layer in report.layers} == names - {"lm_head"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (["fc2"], {f"model.decoder.layers.{i}.fc2" for i in range(3)}),
        ("fc2", {f"model.decoder.layers.{i}.fc2" for i in range(3)}),
        (["*.1.*proj"], {f"model.decoder.layers.1.self_attn.{x}_proj" for x in ("q", "k", "v", "out")}),
        ([r"/layers\.[02]\.fc1/"], {"model.decoder.layers.0.fc1", "model.decoder.layers.2.fc1"}),
        (lambda name: name.endswith("2.fc2"), {"model.decoder.layers.2.fc2"}),
    ],
)
def test_layers_are_chosen_by_patterns_or_by_a_function(choice: Any, expected: set[str]) -> None:
    model = tiny_model("opt")
    report = run(model, layers=choice)
    assert pruned_names(model) == {layer.name for layer in report.layers} == expected
    assert len(report.facts.skipped) == 18 - len(expected)


class Chain(nn.Module):
    """Blocks of different widths and classes in a chain, after an embedding and before a head."""

    def __init__(self, *, glue: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embed = nn.Embedding(96, 8)
        self.first = nn.Linear(8, 24)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 96)
        self.glue = glue

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.first(self.embed(tokens))
        return self.head(self.second(2 * hidden if self.glue else hidden))


def test_blocks_may_be_given_by_name_or_as_modules() -> None:
    model, other = Chain(), Chain()
    client = LocalClient()
    run(model, client, blocks=["first", "second"], token_weights="none")
    run(other, blocks=[other.first, other.second], token_weights="none")
    assert pruned_names(model) == {"first", "second.1"}
    require_equal(model, other)
    # The second Hessian is that of the pruned first block.
    with torch.no_grad():
        x = torch.cat([model.first(model.embed(batch)).relu().flatten(0, 1) for batch in token_batches(2)])
    torch.testing.assert_close(client.hessians[1], x.T @ x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (tiny_model("opt"), {"layers": ["fc1", "fc9"]}, "layers: 'fc9' matches no layer"),
        (tiny_model("opt"), {"layers": lambda _: False}, "chooses none of the 18 linear layers"),
        (Chain(glue=True), {"blocks": ["first", "second"]}, "second: its input is not the output of first"),
        (Chain(), {"blocks": ["second", "first"]}, "first: was called where the block second was expected"),
        (Chain(), {"blocks": ["third"]}, "no module 'third'"),
        (Chain(), {"blocks": [nn.Linear(8, 24)]}, "not a module of the model"),
        (Chain(), {}, "name its blocks with blocks="),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_by_name(
    model: nn.Module, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(model, **options)


def test_projections_of_multihead_attention_are_pruned() -> None:
    torch.manual_seed(3)
    encoder = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Embedding(96, 16), encoder)
    dense = encoder.self_attn.in_proj_weight.detach().clone()
    report = run(model, blocks=["1"])
    names = ["q_proj", "k_proj", "v_proj", "out_proj"]
    assert [layer.name for layer in report.layers[:4]] == [f"1.self_attn.{name}" for name in names]
    joint = encoder.self_attn.in_proj_weight
    for part in joint.chunk(3):
        assert int((part == 0).sum()) == part.numel() // 2
    assert torch.equal(joint[joint != 0], dense[joint != 0])
    assert int((encoder.self_attn.out_proj.weight == 0).sum()) == 16 * 16 // 2


def test_an_embedding_inside_of_a_block_is_never_pruned() -> None:
    model = tiny_model("llama")
    model.model.layers[0].register_module("memory", nn.Embedding(96, 32))
    model.model.layers[1].register_module("shared", nn.Linear(32, 96, bias=False))
    model.model.layers[1].shared.weight = model.lm_head.weight
    report = run(model)
    assert all("memory" not in layer.name and "shared" not in layer.name for layer in report.layers)


def test_a_layer_that_no_token_reached_is_refused_by_name() -> None:
    model = tiny_model("llama")
    model.model.layers[1].register_module("expert", nn.Linear(32, 8))
    with pytest.raises(ValueError, match=r"no calibration token reached model\.layers\.1\.expert"):
        run(model)


def test_the_model_is_as_before_except_for_its_weights() -> None:
    model = tiny_model("opt").train()
    model.model.decoder.layers[1].eval()
    training = {name: module.training for name, module in model.named_modules()}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    run(model)
    assert training == {name: module.training for name, module in model.named_modules()}
    assert hooks == [len(module._forward_hooks) for module in model.modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_batches_are_needed_unless_the_method_is_magnitude() -> None:
    with pytest.raises(ValueError, match="wanda needs at least one batch"):
        run(tiny_model("opt"), batches=[])
    model = tiny_model("opt")
    client = LocalClient()
    report = run(model, client, [], method="magnitude")
    assert report.zeros == report.entries // 2
    assert all(torch.equal(matrix, torch.eye(len(matrix))) for matrix in client.hessians)


def test_the_method_is_alps_and_parameters_are_passed_on() -> None:
    client = LocalClient()
    prune_(tiny_model("opt"), token_batches(1), client, layers=["0.fc1"], progress=False, sparsity=0.25)
    assert client.queries == [{"method": "alps", "sparsity": 0.25}]
    with pytest.raises(TypeError, match="dtype: must be 'same'"):
        run(tiny_model("opt"), dtype="F16")
    with pytest.raises(TypeError, match="pattern: columns would change the shapes"):
        run(tiny_model("opt"), pattern="columns", method="obc")


def test_layers_with_one_input_share_their_statistics() -> None:
    client = LocalClient()
    run(tiny_model("opt"), client)
    assert client.put_count == 3  # the query, key and value projections of each block
    assert client.stored == {}
