"""PackedMask against booleans."""

import pytest
import torch
from pare_llm.finetuning import packed_mask
from pare_llm.finetuning.packed_mask import PackedMask


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the chunks small, so that small tensors have several."""
    monkeypatch.setattr(packed_mask, "_CHUNK", 16)


def half_zero(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(shape, generator=generator, dtype=dtype)
    values[torch.rand(shape, generator=generator) < 0.5] = 0.0
    return values


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 7), (2, 4), (3, 5), (7, 9), (16, 2), (5, 13)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_mask_takes_one_bit_per_entry_and_zeroes_the_masked_entries(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    values = half_zero(*shape, dtype=dtype)
    mask = PackedMask(values)
    assert mask.bits.dtype == torch.uint8
    assert mask.bits.numel() == (values.numel() + 7) // 8
    assert torch.equal(mask.kept().view(shape), values != 0)
    assert mask.zeros == int((values == 0).sum())
    target = torch.ones(shape, dtype=dtype)
    assert mask.count_nonzeros(target) == mask.zeros
    mask.zero_(target)
    assert torch.equal(target != 0, values != 0)
    assert mask.count_nonzeros(target) == 0


def test_bits_begin_with_the_least_significant_as_in_the_http_contract() -> None:
    mask = PackedMask(torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0, 5.0]]))
    assert mask.bits.tolist() == [0b10000101, 0b00000011]


def test_minus_zero_is_masked_and_nan_is_not() -> None:
    mask = PackedMask(torch.tensor([-0.0, float("nan"), float("inf"), 0.0]))
    assert mask.kept().tolist() == [False, True, True, False]


def test_infinite_and_nan_entries_become_plus_zero() -> None:
    mask = PackedMask(torch.zeros(4))
    target = torch.tensor([float("nan"), float("inf"), -1.0, -0.0])
    mask.zero_(target)
    assert target.tolist() == [0.0] * 4
    assert not torch.signbit(target).any()


def test_entries_that_are_not_contiguous_are_masked_in_row_order() -> None:
    values = half_zero(6, 7)
    target = torch.ones(7, 6).t()
    PackedMask(values).zero_(target)
    assert torch.equal(target != 0, values != 0)


@pytest.mark.parametrize("first", [0, 1, 7, 8, 19, 40])
def test_a_piece_is_masked_from_its_first_entry(first: int) -> None:
    values = half_zero(9, 9)
    piece = torch.ones(41)
    PackedMask(values).zero_(piece, first)
    assert torch.equal(piece != 0, values.view(-1)[first : first + 41] != 0)
