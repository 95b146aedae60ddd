"""The product of a masked LoRA adapter, and its gradients."""

import torch
from pare_llm.finetuning.masked_adapter import masked_product
from torch import Tensor


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
