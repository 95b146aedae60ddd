"""Tests that `load` returns dense tensors as they are stored."""

import pare_llm
import torch

from .same_bits import assert_same_bits


def test_load_returns_every_dtype_scalars_and_empty_tensors_with_their_bits(write_checkpoint):
    dense = {
        "i16": torch.tensor([[-(2**15), -1, 0], [1, 2, 2**15 - 1]], dtype=torch.int16),
        "u16": torch.tensor([0, 1, 2**15, 2**16 - 1], dtype=torch.uint16),
        "bool": torch.tensor([[True], [False], [True]]),
        "f64": torch.tensor([-0.0, 5e-324, 1.7e308, float("nan"), float("-inf")], dtype=torch.float64),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
    }
    with pare_llm.load(write_checkpoint("dense", {}, dense)) as tensors:
        assert_same_bits(tensors, dense)
