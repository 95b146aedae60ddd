"""Tests that `load` decodes the sparse layouts to the bits that were packed and that `pare unpack` writes."""

from pathlib import Path

import pare_llm
import torch
from safetensors.torch import load_file

from .same_bits import assert_same_bits

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
OTHERS = {
    "a.bias": torch.arange(3.0),
    "n.weight": torch.ones(5, dtype=torch.float64),
    "ids": torch.tensor([[1, -2]]),
    "flags": torch.tensor([True, False, True]),
    "scalar": torch.tensor(7, dtype=torch.int16),
    "unsigned": torch.tensor([65535], dtype=torch.uint16),
    "empty": torch.empty((0, 4), dtype=torch.float16),
}


def random_bits(rows: int, cols: int, dtype: torch.dtype) -> torch.Tensor:
    """Return random bits as a weight, which has NaNs with payloads, infinities and subnormal numbers."""
    words = torch.int32 if dtype.itemsize == 4 else torch.int16
    info = torch.iinfo(words)
    return torch.randint(info.min, info.max, (rows, cols), dtype=words).view(dtype)


def sparse_weight(rows: int, cols: int, dtype: torch.dtype) -> torch.Tensor:
    """Return random bits with about 60 % zeros, a -0 and an empty row."""
    weight = random_bits(rows, cols, dtype)
    weight[torch.rand(rows, cols) < 0.6] = 0
    weight[0, 0] = -0.0
    weight[1] = 0
    return weight


def two_four_weight(rows: int, cols: int, dtype: torch.dtype) -> torch.Tensor:
    """Return random bits of which each group of four columns keeps at most two."""
    order = torch.rand(rows, cols // 4, 4).argsort(dim=2)
    kept = torch.randint(0, 3, (rows, cols // 4, 1))
    weight = random_bits(rows, cols, dtype)
    weight[(order >= kept).view(rows, cols)] = 0
    return weight


def unpacked(folder: Path) -> dict[str, torch.Tensor]:
    """Read the dense checkpoint in `folder` with the safetensors library."""
    tensors: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def test_load_decodes_sparse_bitmask_weights_of_every_dtype_and_of_odd_sizes(
    pare, write_checkpoint, tmp_path
):
    torch.manual_seed(0)
    weights = {
        f"{name}.{rows}x{cols}.weight": sparse_weight(rows, cols, dtype)
        for name, dtype in DTYPES.items()
        for rows, cols in [(40, 8), (41, 13), (40, 64), (39, 257)]
    }
    large = {"more than one strip.weight": sparse_weight(2100, 4100, torch.float16)}
    folder = write_checkpoint("dense", {"model_type": "opt"}, weights | OTHERS, large)
    pare("pack", folder, "--format", "bitmask", "--out", tmp_path / "packed")
    pare("unpack", tmp_path / "packed", "--out", tmp_path / "unpacked")

    tensors = pare_llm.load(tmp_path / "packed")
    assert_same_bits(tensors, weights | OTHERS | large)
    assert_same_bits(tensors, unpacked(tmp_path / "unpacked"))
    assert tensors.config == {"model_type": "opt"}
    assert_same_bits(pare_llm.load_state_dict(tmp_path / "unpacked"), weights | OTHERS | large)


def test_load_decodes_sparse_24_weights_of_every_dtype(pare, write_checkpoint, tmp_path):
    torch.manual_seed(1)
    weights = {
        f"{name}.{cols}.weight": two_four_weight(40, cols, dtype)
        for name, dtype in DTYPES.items()
        for cols in (4, 12, 64, 260)
    }
    folder = write_checkpoint("dense", {}, weights | OTHERS)
    pare("pack", folder, "--format", "sparse-24", "--out", tmp_path / "packed")
    pare("unpack", tmp_path / "packed", "--out", tmp_path / "unpacked")

    state_dict = pare_llm.load_state_dict(tmp_path / "packed")
    assert_same_bits(state_dict, weights | OTHERS)
    assert_same_bits(state_dict, unpacked(tmp_path / "unpacked"))


def test_load_accepts_the_names_of_parts_that_early_versions_of_the_library_wrote(write_checkpoint):
    parts = {
        "w.weight.compressed": torch.tensor([5.0, 6.0]),
        "w.weight.bitmask": torch.tensor([[2], [1]], dtype=torch.uint8),
        "w.weight.shape": torch.tensor([[2], [3]]),
        "w.weight.row_offsets": torch.tensor([0, 1]),
    }
    sparsity = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"}}
    folder = write_checkpoint("old", {"compression_config": sparsity}, parts)
    tensors = pare_llm.load(folder)
    assert dict(tensors.items())["w.weight"].tolist() == [[0, 5, 0], [6, 0, 0]]
    assert tensors.config == {}
