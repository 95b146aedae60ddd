"""mask_lora_ and merge_keep_zeros with peft."""

import copy
from typing import Any

import pytest
import torch
from pare_llm import mask_lora_, merge_keep_zeros
from pare_llm.finetuning.masked_adapter import masked_product
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class Layers(nn.Module):
    """A pruned nn.Linear, a pruned Conv1D and a dense nn.Linear."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.up = nn.Linear(6, 10)
        self.conv = Conv1D(8, 10)
        self.dense = nn.Linear(8, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)
            for weight in (self.up.weight, self.conv.weight):
                weight[torch.rand(weight.shape, generator=generator) < 0.5] = 0.0
            self.up.weight[0, 0] = -0.0
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., 3]."""
        return self.dense(torch.tanh(self.conv(torch.tanh(self.up(x)))))


def adapted(model: nn.Module, **options: Any) -> PeftModel:
    """Add LoRA adapters whose B is random instead of zero."""
    config = {"r": 4, "lora_alpha": 6, "target_modules": ["up", "dense"], **options}
    peft_model = get_peft_model(model, LoraConfig(**config))
    randomize(peft_model, 3)
    return peft_model


def masked(**options: Any) -> PeftModel:
    """Add adapters to the layers, and mask those of pruned weights."""
    model = adapted(Layers(), **options)
    mask_lora_(model)
    return model


def randomize(model: PeftModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def inputs() -> Tensor:
    return torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def delta(module: nn.Module, adapter: str = "default") -> Tensor:
    """B·A·scaling with the shape [out, in], computed without peft."""
    return module.scaling[adapter] * module.lora_B[adapter].weight @ module.lora_A[adapter].weight


def test_merge_adds_the_masked_product_and_keeps_the_zeros_exactly() -> None:
    before = Layers()
    model = adapted(Layers())
    up, dense = model.base_model.model.up, model.base_model.model.dense
    expected_up = before.up.weight + (before.up.weight != 0) * delta(up)
    expected_dense = before.dense.weight + delta(dense)
    base = merge_keep_zeros(model)
    assert isinstance(base, Layers)
    assert type(base.up) is nn.Linear
    torch.testing.assert_close(base.up.weight, expected_up, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(base.dense.weight, expected_dense, rtol=1e-14, atol=1e-14)
    pruned = before.up.weight == 0
    assert torch.count_nonzero(base.up.weight[pruned]) == 0
    assert torch.count_nonzero(base.up.weight[~pruned] == before.up.weight[~pruned]) == 0


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"lora_bias": True}], ids=str)
def test_masked_model_computes_in_training_what_the_merged_model_computes(options: dict[str, Any]) -> None:
    model = adapted(Layers(), **options)
    assert mask_lora_(model) == ["up.weight"]
    model.train()
    trained = model(inputs())
    merged = merge_keep_zeros(model)
    torch.testing.assert_close(merged(inputs()), trained, rtol=1e-12, atol=1e-12)


def test_rank_stabilised_scaling_is_used() -> None:
    model = adapted(Layers(), use_rslora=True)
    assert model.base_model.model.up.scaling["default"] == 3.0  # alpha / sqrt(rank)
    before = Layers().up.weight
    up = model.base_model.model.up
    a, b = up.lora_A["default"].weight, up.lora_B["default"].weight
    expected = before + (before != 0) * (3.0 * b @ a)
    torch.testing.assert_close(merge_keep_zeros(model).up.weight, expected, rtol=1e-14, atol=1e-14)


def test_conv1d_is_masked_in_training_and_in_the_merge() -> None:
    before = Layers()
    model = adapted(Layers(), target_modules=["conv"], fan_in_fan_out=True)
    assert mask_lora_(model) == ["conv.weight"]
    trained = model(inputs())
    expected = before.conv.weight + (before.conv.weight != 0) * delta(model.base_model.model.conv).t()
    merged = merge_keep_zeros(model)
    torch.testing.assert_close(merged.conv.weight, expected, rtol=1e-14, atol=1e-14)
    assert torch.count_nonzero(merged.conv.weight[before.conv.weight == 0]) == 0
    torch.testing.assert_close(merged(inputs()), trained, rtol=1e-12, atol=1e-12)


def test_training_stores_no_matrix_of_the_size_of_the_weight() -> None:
    model = masked()
    weight = model.base_model.model.up.base_layer.weight
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(inputs())
    matrices = [tensor for tensor in saved if sorted(tensor.shape) == sorted(weight.shape)]
    assert matrices
    assert {tensor.untyped_storage().data_ptr() for tensor in matrices} == {
        weight.untyped_storage().data_ptr()
    }


def test_trained_adapters_learn_through_the_mask_and_leave_the_base_alone() -> None:
    model = masked(lora_dropout=0.2)
    before = copy.deepcopy(model.state_dict())
    target = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(inputs()) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("lora_" not in name), name
    trained = model.eval()(inputs())
    merged = merge_keep_zeros(model)
    torch.testing.assert_close(merged(inputs()), trained, rtol=1e-12, atol=1e-12)
    assert torch.count_nonzero(merged.up.weight[Layers().up.weight == 0]) == 0


def test_dropout_applies_to_the_input_of_the_adapter_in_training_only() -> None:
    model = masked(lora_dropout=0.5)
    model.train()
    assert not torch.equal(model(inputs()), model(inputs()))
    model.eval()
    assert torch.equal(model(inputs()), model(inputs()))


def test_several_adapters_are_masked_and_the_named_ones_are_merged() -> None:
    model = adapted(Layers())
    model.add_adapter("second", LoraConfig(r=2, lora_alpha=2, target_modules=["up"]))
    randomize(model, 13)
    mask_lora_(model)
    model.base_model.set_adapter(["default", "second"])
    up = model.base_model.model.up
    weight = Layers().up.weight
    both = weight + (weight != 0) * (delta(up) + delta(up, "second"))
    second = weight + (weight != 0) * delta(up, "second")
    output = model(inputs())
    one, all_active = copy.deepcopy(model), copy.deepcopy(model)
    torch.testing.assert_close(
        merge_keep_zeros(one, adapters=["second"]).up.weight, second, rtol=1e-14, atol=1e-14
    )
    merged = merge_keep_zeros(all_active)
    torch.testing.assert_close(merged.up.weight, both, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(merged(inputs()), output, rtol=1e-12, atol=1e-12)


def test_merge_adapter_and_unmerge_adapter_of_peft_keep_the_zeros() -> None:
    model = masked()
    weight = model.base_model.model.up.base_layer.weight
    before = weight.clone()
    for safe in (False, True):
        model.merge_adapter(safe_merge=safe)
        assert torch.equal(weight == 0, before == 0)
        assert not torch.equal(model.base_model.model.up.base_layer.weight, before)
        with pytest.raises(ValueError, match=r"up\.weight: the adapter default is merged"):
            mask_lora_(model)
        model.unmerge_adapter()
        weight = model.base_model.model.up.base_layer.weight
        torch.testing.assert_close(weight, before, rtol=1e-13, atol=1e-13)


def test_bfloat16_base_with_a_float32_adapter_merges_once_rounded() -> None:
    model = adapted(Layers(torch.bfloat16))
    up = model.base_model.model.up
    assert up.lora_A["default"].weight.dtype == torch.float32
    weight = up.base_layer.weight.clone()
    mask_lora_(model)
    assert model(inputs().bfloat16()).dtype == torch.bfloat16
    expected = (weight.double() + (weight != 0) * delta(up).double()).bfloat16()
    merged = merge_keep_zeros(model).up.weight
    assert torch.equal(merged == 0, weight == 0)
    torch.testing.assert_close(merged, expected, rtol=2**-7, atol=0)


def test_autocast_trains_a_masked_adapter() -> None:
    model = adapted(Layers(torch.float32))
    mask_lora_(model)
    with torch.autocast("cpu", torch.bfloat16):
        result = model(inputs().float())
    result.float().square().mean().backward()
    gradient = model.base_model.model.up.lora_A["default"].weight.grad
    exact = masked()
    exact(inputs()).square().mean().backward()
    expected = exact.base_model.model.up.lora_A["default"].weight.grad
    assert gradient is not None
    assert float((gradient - expected).norm() / expected.norm()) < 0.05


def test_compiled_masked_model_gives_the_same_gradients() -> None:
    model = masked()
    model(inputs()).square().mean().backward()
    parameters = [p for p in model.parameters() if p.requires_grad]
    eager = [p.grad.clone() for p in parameters]
    model.zero_grad()
    torch.compile(model, backend="aot_eager")(inputs()).square().mean().backward()
    for parameter, expected in zip(parameters, eager, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=1e-12)


def test_dora_is_refused_by_name() -> None:
    model = adapted(Layers(torch.float32), use_dora=True)
    with pytest.raises(ValueError, match=r"up\.weight: the adapter default uses DoRA, but only plain LoRA"):
        merge_keep_zeros(model)


def test_dense_models_and_models_without_adapters_are_refused() -> None:
    with pytest.raises(ValueError, match="no LoRA adapter on a weight that has zeros"):
        mask_lora_(Layers())
    dense = Layers()
    nn.init.ones_(dense.up.weight)
    with pytest.raises(ValueError, match="no LoRA adapter on a weight that has zeros"):
        mask_lora_(adapted(dense))
    other = get_peft_model(Layers(), IA3Config(target_modules=["up"], feedforward_modules=[]))
    with pytest.raises(ValueError, match="no LoRA adapter"):
        mask_lora_(other)


def test_adapters_of_other_layers_are_refused_by_their_class() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

    model = get_peft_model(Attention(), LoraConfig(target_modules=["attention"]))
    with pytest.raises(TypeError, match=r"attention: masked LoRA covers .*MultiheadAttention"):
        mask_lora_(model)


def test_only_named_layers_are_masked() -> None:
    for layers, names in ((None, ["up.weight", "dense.weight"]), ("up", ["up.weight"])):
        model = adapted(Layers())
        with torch.no_grad():
            model.base_model.model.dense.base_layer.weight[0, 0] = 0.0
        assert mask_lora_(model, layers=layers) == names


def test_gradients_of_a_masked_adapter_equal_those_of_the_written_out_formula() -> None:
    generator = torch.Generator().manual_seed(11)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, weight, down, up = random(3, 5, 6), random(7, 6), random(2, 6), random(7, 2)
    weight[weight < 0.2] = 0.0
    leaves = [value.requires_grad_() for value in (x, down, up)]
    cotangent = random(3, 5, 7)
    result = masked_product(x, weight, down, up, 1.5)
    gradients = torch.autograd.grad(result, leaves, cotangent)
    expected = x @ ((weight != 0) * (up @ down) * 1.5).t()
    torch.testing.assert_close(result, expected, rtol=1e-13, atol=1e-13)
    for actual, wanted in zip(gradients, torch.autograd.grad(expected, leaves, cotangent), strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *v: masked_product(v[0], weight, v[1], v[2], 1.5), leaves)
