"""Compares tensors by their bits, so that -0 differs from +0 and NaNs with the same payload are equal."""

from collections.abc import Mapping

import torch


def assert_same_bits(actual: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Assert that both mappings have the same names, dtypes, shapes and bits."""
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        found = actual[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(_bytes(found), _bytes(tensor)), name


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
