"""Tests that `load` decodes the layout `pack-quantized` to the bits that `pare unpack` writes."""

import itertools

import pare_llm
import torch
from conftest import PARE, run_deno
from safetensors.torch import load_file

from .same_bits import assert_same_bits

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
KINDS = [(bits, symmetric) for bits in range(2, 9) for symmetric in (False, True)]


def words(count: int, bits: int) -> int:
    """Return the number of int32 words that `count` codes need."""
    return -(-count * bits // 32)


def random_parts(
    stem: str, rows: int, cols: int, groups: int, dtype: torch.dtype, bits: int, symmetric: bool
) -> dict[str, torch.Tensor]:
    """Return the parts of a weight with random codes and zeros, and with scales of very different sizes."""
    whole = torch.iinfo(torch.int32)

    def random_words(*shape: int) -> torch.Tensor:
        return torch.randint(whole.min, whole.max, shape, dtype=torch.int32)

    parts = {
        f"{stem}.weight_packed": random_words(rows, words(cols, bits)),
        f"{stem}.weight_scale": (2 ** torch.empty(rows, groups).uniform_(-30, 7)).to(dtype),
        f"{stem}.weight_shape": torch.tensor([rows, cols]),
    }
    if not symmetric:
        parts[f"{stem}.weight_zero_point"] = random_words(words(rows, bits), groups)
    return parts


def description(grids: dict[str, tuple[int, bool, int]]) -> dict[str, object]:
    """Return a `quantization_config`. `grids` has bits, symmetry and group size of each target."""
    groups = {}
    for i, (target, (bits, symmetric, group_size)) in enumerate(grids.items()):
        weights = {"num_bits": bits, "type": "int", "symmetric": symmetric}
        weights |= {"strategy": "group", "group_size": group_size}
        groups[f"group_{i}"] = {"targets": [target], "weights": weights}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}


def test_load_decodes_quantised_weights_of_every_kind_and_of_odd_sizes(write_checkpoint, tmp_path):
    torch.manual_seed(0)
    sizes = [(9, 40, 4), (17, 45, 1), (5, 33, 11), (64, 128, 2)]
    shards: list[dict[str, torch.Tensor]] = [{"bias": torch.arange(5.0)}, {}]
    grids = {"large": (4, False, 4100 // 41)}
    for dtype, (bits, symmetric), size in itertools.product(DTYPES, KINDS, sizes):
        stem = f"{dtype}.{bits}.{symmetric}.{size}"
        shards[bits % 2] |= random_parts(stem, *size, dtype, bits, symmetric)
        grids[stem] = (bits, symmetric, size[1] // size[2])
    # This weight has more than one strip of rows, and its zeros do not fill their last words.
    shards[0] |= random_parts("large", 2101, 4100, 41, torch.float16, 4, False)
    folder = write_checkpoint("quantized", {"quantization_config": description(grids)}, *shards)
    run_deno(PARE, "unpack", folder, "--out", tmp_path / "unpacked")

    expected: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "unpacked").glob("*.safetensors"):
        expected |= load_file(file)
    assert len(expected) == len(DTYPES) * len(KINDS) * len(sizes) + 2
    assert_same_bits(pare_llm.load_state_dict(folder), expected)


def test_load_computes_the_value_that_the_layout_defines(write_checkpoint):
    parts = {
        "w.weight_packed": torch.tensor([[0x0000_00F3]], dtype=torch.int32),  # the codes 3 and 15
        "w.weight_scale": torch.tensor([[0.5]], dtype=torch.bfloat16),
        "w.weight_zero_point": torch.tensor([[5]], dtype=torch.int32),
        "w.weight_shape": torch.tensor([1, 2]),
    }
    folder = write_checkpoint(
        "quantized", {"quantization_config": description({"Linear": (4, False, 2)})}, parts
    )
    with pare_llm.load(folder) as tensors:
        assert list(tensors) == ["w.weight"]
        assert tensors["w.weight"].tolist() == [[(3 - 5) * 0.5, (15 - 5) * 0.5]]
