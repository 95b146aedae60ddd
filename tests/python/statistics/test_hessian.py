"""`Hessian` sums x xᵀ in float32."""

import pytest
import torch
from pare_llm import Hessian
from statistics_support import TOLERANCE, AllocationPeak, largest_deviation, reference_hessian
from torch import Tensor


def tokens(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return random inputs whose second feature is dead."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[..., 1:2] = 0
    return x.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("rows", "features"), [(1, 1), (3, 5), (130, 33), (257, 64)])
def test_adds_inputs_of_every_floating_point_dtype(dtype: torch.dtype, rows: int, features: int) -> None:
    """Three tokens of five features make a matrix that is not positive definite."""
    batches = [tokens(2, rows, features, seed=seed, dtype=dtype) for seed in (1, 2)]
    hessian = Hessian(features, chunk_tokens=50)
    for x in batches:
        hessian.add(x)
    assert hessian.matrix.dtype == torch.float32
    assert hessian.tokens == 4 * rows
    assert hessian.in_features == features
    assert largest_deviation(hessian.matrix, reference_hessian(batches)) < TOLERANCE


def test_does_not_depend_on_the_memory_layout_of_the_inputs() -> None:
    x = tokens(4, 6, 8)
    expected = reference_hessian([x])
    transposed = x.transpose(0, 1)
    sliced = torch.cat([x, x], dim=-1)[..., :8]
    strided = torch.stack([x, x], dim=-1)[..., 0]
    uneven = torch.cat([x, x], dim=1)[:, :6]
    for layout in (transposed, sliced, strided, uneven):
        assert not layout.is_contiguous()
        hessian = Hessian(8, chunk_tokens=5)
        hessian.add(layout)
        assert largest_deviation(hessian.matrix, expected) < TOLERANCE
        assert hessian.tokens == 24


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_leaves_out_padding_even_if_it_is_not_finite(dtype: torch.dtype, transposed: bool) -> None:
    x = tokens(3, 7, 4, dtype=dtype)
    real = torch.ones(3, 7, dtype=torch.bool)
    real[0, :3] = False
    real[2] = False
    before = x.clone()
    x[0, :3] = torch.nan
    x[2] = torch.inf
    hessian = Hessian(4, chunk_tokens=4)
    if transposed:
        hessian.add(x.transpose(0, 1), real.transpose(0, 1))
    else:
        hessian.add(x, real)
    assert hessian.tokens == 11
    assert largest_deviation(hessian.matrix, reference_hessian([before[real]])) < TOLERANCE
    assert torch.equal(x[1], before[1])


def test_adds_nothing_for_zero_tokens() -> None:
    hessian = Hessian(6)
    hessian.add(torch.empty(0, 6))
    hessian.add(torch.empty(2, 0, 6, dtype=torch.bfloat16))
    assert hessian.tokens == 0
    assert not hessian.matrix.any()


def test_takes_a_single_token_without_other_dimensions() -> None:
    hessian = Hessian(3, token_weights="none")
    hessian.add(torch.tensor([1.0, 2.0, 3.0]))
    assert hessian.tokens == 1
    assert hessian.matrix[1].tolist() == [2.0, 4.0, 6.0]


def test_packs_the_upper_triangle_row_by_row() -> None:
    hessian = Hessian(5)
    hessian.add(tokens(9, 5))
    upper = hessian.upper()
    assert upper.dtype == torch.float32
    assert upper.is_contiguous()
    assert upper.tolist() == [hessian.matrix[i, j].item() for i in range(5) for j in range(i, 5)]


def test_is_the_same_with_offload() -> None:
    x = tokens(40, 9, dtype=torch.bfloat16)
    plain, offloaded = Hessian(9, chunk_tokens=16), Hessian(9, chunk_tokens=16, offload=True)
    for hessian in (plain, offloaded):
        hessian.add(x[:13])
        hessian.add(x[13:])
    assert offloaded.matrix.device.type == "cpu"
    assert offloaded.tokens == 40
    assert largest_deviation(offloaded.matrix, plain.matrix.double()) < TOLERANCE


def test_sums_in_float32_inside_autocast() -> None:
    x = tokens(64, 16)
    hessian = Hessian(16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x.t() @ x).dtype == torch.bfloat16
        hessian.add(x)
    assert largest_deviation(hessian.matrix, reference_hessian([x])) < TOLERANCE


def test_sums_in_full_precision_where_the_program_allows_less() -> None:
    x = tokens(512, 256)
    expected = Hessian(256)
    expected.add(x)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        hessian = Hessian(256)
        hessian.add(x)
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(hessian.matrix, expected.matrix)


def test_can_be_added_to_in_and_after_inference_mode() -> None:
    x = tokens(10, 4)
    with torch.inference_mode():
        hessian = Hessian(4)
        hessian.add(x)
        hessian.add(x * 2)
    hessian.add(x)
    assert largest_deviation(hessian.matrix, reference_hessian([x, x * 2, x])) < TOLERANCE


def test_records_no_autograd_graph() -> None:
    x = tokens(10, 4).requires_grad_()
    hessian = Hessian(4)
    hessian.add(x * 2)
    assert not hessian.matrix.requires_grad


def test_a_copy_is_independent() -> None:
    hessian = Hessian(4)
    hessian.add(tokens(5, 4))
    copy = hessian.clone()
    copy.add(tokens(5, 4, seed=3))
    assert (hessian.tokens, copy.tokens) == (5, 10)
    assert largest_deviation(hessian.matrix, reference_hessian([tokens(5, 4)])) < TOLERANCE


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_allocates_no_more_than_one_chunk_in_float32(dtype: torch.dtype, masked: bool, layout: str) -> None:
    """The mask of the chunk takes one byte per token. Weighted tokens would be one more chunk."""
    chunk, features = 32, 48
    x = tokens(8, 100, features, dtype=dtype)
    real = torch.rand(8, 100) < 0.8 if masked else None
    if layout == "transposed":
        x, real = x.transpose(0, 1), real if real is None else real.transpose(0, 1)
    hessian = Hessian(features, chunk_tokens=chunk, token_weights="none")
    with AllocationPeak() as peak:
        hessian.add(x, real)
    needs_copy = masked or dtype != torch.float32
    assert peak.bytes == (4 * chunk * features + (chunk if masked else 0) if needs_copy else 0)


def test_scales_every_token_to_a_mean_square_of_one_with_the_weights_unit() -> None:
    x = tokens(2, 30, 6)
    x[0, 0] *= 1000  # a massive activation
    x[1, 3] = 0
    real = torch.ones(2, 30, dtype=torch.bool)
    real[1, 20:] = False
    scaled = x.double() / x.double().square().mean(dim=-1, keepdim=True).sqrt()
    scaled[1, 3] = 0
    scaled[1, 20:] = 0
    hessian = Hessian(6, chunk_tokens=16, token_weights="unit")
    hessian.add(x, real)
    assert largest_deviation(hessian.matrix, reference_hessian([scaled])) < TOLERANCE
    assert hessian.clone().matrix.equal(hessian.matrix)
