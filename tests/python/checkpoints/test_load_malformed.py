"""Tests that malformed checkpoints are refused with the name of the tensor, the rule and the value."""

import json
from collections.abc import Callable

import pare_llm
import pytest
import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

QUANTIZED = {
    "w.weight_packed": torch.zeros((3, 2), dtype=torch.int32),
    "w.weight_scale": torch.ones((3, 4), dtype=torch.bfloat16),
    "w.weight_zero_point": torch.zeros((1, 4), dtype=torch.int32),
    "w.weight_shape": torch.tensor([3, 12]),
}
WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group"}
METHOD = {"quant_method": "compressed-tensors"}
CONFIG = METHOD | {"format": "pack-quantized", "config_groups": {"g": {"weights": WEIGHTS}}}

I32, I64 = torch.int32, torch.int64
CASES: list[tuple[str, torch.Tensor | None, str]] = [
    ("w.weight_shape", torch.tensor([3, -12]), r"w\.weight_shape must contain a shape, not \[3, -12\]"),
    ("w.weight_shape", torch.tensor([2**62, 2**62]), r"w\.weight_shape must contain a shape"),
    ("w.weight_shape", torch.tensor([3, 12, 1]), r"must be I64 \[2\] or \[2, 1\], not I64 \[3\]"),
    ("w.weight_scale", torch.ones((3, 4), dtype=I32), r"must be F32, F16 or BF16, not I32 \[3, 4\]"),
    *(
        (f"w.weight_{part}", None, rf"has no tensor w\.weight_{part}; the nearest is w\.weight_")
        for part in ("packed", "scale", "shape")
    ),
    (
        "w.weight_zero_point",
        None,
        r"\[3, 2\] of a weight \[3, 12\] without a zero point .* 4 bits",
    ),
    (
        "w.weight_packed",
        torch.ones((3, 3), dtype=I32),
        r"\[3, 3\] of a weight \[3, 12\] with a zero",
    ),
    ("w.weight_packed", torch.ones((3, 2), dtype=I64), r"w\.weight_packed must be I32 \[3, 2\]"),
    (
        "w.weight_scale",
        torch.ones(3, 5),
        r"w\.weight_scale \[3, 5\] must have .* that divides 12",
    ),
    (
        "w.weight_scale",
        torch.ones(3, 0),
        r"w\.weight_scale \[3, 0\] must have .* that divides 12",
    ),
    (
        "w.weight_scale",
        torch.ones(2, 4),
        r"w\.weight_scale must be F32 \[3, 4\], not F32 \[2, 4\]",
    ),
    (
        "w.weight_scale",
        torch.tensor([[1, 1, 1, 1], [1, 1, float("inf"), 1], [1, 1, 1, 1]]),
        r"w\.weight_scale: entry \[1, 2\] must be a finite number, not inf",
    ),
    ("w.weight_zero_point", torch.ones((3, 4), dtype=I32), r"zero_point must be I32 \[1, 4\]"),
    (
        "w.weight_g_idx",
        torch.ones(12, dtype=I32),
        r"w\.weight_g_idx is a part that is not supported",
    ),
    ("w.weight", torch.ones(3, 12), r"has w\.weight both dense and packed"),
]


def test_the_checkpoint_is_accepted_before_it_is_damaged(write_checkpoint):
    folder = write_checkpoint("valid", {"quantization_config": CONFIG}, QUANTIZED)
    assert list(pare_llm.load_state_dict(folder)) == ["w.weight"]


@pytest.mark.parametrize(("name", "tensor", "message"), CASES)
def test_load_state_dict_refuses_a_weight_with_a_wrong_part(write_checkpoint, name, tensor, message):
    tensors: Tensors = {**QUANTIZED, name: tensor}
    if tensor is None:
        del tensors[name]
    folder = write_checkpoint("malformed", {"quantization_config": CONFIG}, tensors)
    with pytest.raises(ValueError, match=message) as caught:
        pare_llm.load_state_dict(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "gptq", "bits": 4}, r'must name compressed-tensors .* not {"quant_method": "gptq"'),
        ("int4", r'must name compressed-tensors with .* not "int4"'),
        *(
            (
                METHOD | {"sparsity_config": {"format": name}},
                rf'sparse format "{name}", .* prune the original',
            )
            for name in ("sparse-bitmask", "sparse-24-bitmask", "marlin-24")
        ),
        (CONFIG | {"config_groups": {}}, r"config_groups must be an object .* not {}"),
        (CONFIG | {"kv_cache_scheme": {"num_bits": 8}}, r"kv_cache_scheme must be absent"),
        (
            CONFIG | {"config_groups": {"g": {"weights": WEIGHTS | {"num_bits": 1}}}},
            r"quantization_config\.config_groups\.g\.weights\.num_bits must be an integer from 2 to 8, not 1",
        ),
        (
            CONFIG | {"config_groups": {"g": {"weights": WEIGHTS, "input_activations": {"a": 1}}}},
            r"config_groups\.g\.input_activations must be absent",
        ),
    ],
)
def test_load_refuses_layouts_that_pare_does_not_write(write_checkpoint, config, message):
    folder = write_checkpoint("other", {"quantization_config": config}, QUANTIZED)
    with pytest.raises(ValueError, match=message):
        pare_llm.load(folder)


def write_index(folder, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (
            {"a": "../outside.safetensors"},
            r'names the file "../outside.safetensors", which is not in the folder',
        ),
        ({"a": "/etc/passwd"}, r'names the file "/etc/passwd", which is not in the folder'),
        ({"a": ["a.safetensors"]}, r'names the file \["a.safetensors"\]'),
        ({"a": "a.safetensors", "c": "a.safetensors"}, r'lists the tensor "c", but no weight file has it'),
        (
            {"a": "a.safetensors", "b": "b.safetensors"},
            r"a\.safetensors and b\.safetensors both have the tensor a",
        ),
        ({}, r"weight_map must map at least one tensor to a file, not {}"),
        ([], r"weight_map must map at least one tensor to a file, not \[\]"),
    ],
)
def test_load_refuses_an_index_that_contradicts_the_files(tmp_path, weight_map, message):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/config.json").write_text("{}")
    for file in ("outside.safetensors", "inside/a.safetensors", "inside/b.safetensors"):
        save_file({"a": torch.ones(2)}, tmp_path / file)
    write_index(tmp_path / "inside", weight_map)
    with pytest.raises(ValueError, match=message):
        pare_llm.load(tmp_path / "inside")


def without(*names: str) -> Callable[..., None]:
    """Return a function that removes files of a folder."""
    return lambda folder: [(folder / name).unlink() for name in names] and None


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (without("config.json"), FileNotFoundError, r"has no config\.json"),
        (without("model.safetensors"), FileNotFoundError, r"has neither model\.safetensors nor model\.safet"),
        (
            lambda folder: (folder / "config.json").write_text("{"),
            ValueError,
            r"config\.json: is not valid JSON",
        ),
        (
            lambda folder: (folder / "config.json").write_text("[]"),
            ValueError,
            r"must contain an object, not \[\]",
        ),
    ],
)
def test_load_refuses_a_folder_with_a_missing_or_malformed_file(write_checkpoint, damage, error, message):
    folder = write_checkpoint("damaged", {}, {"a": torch.ones(2)})
    damage(folder)
    with pytest.raises(error, match=message):
        pare_llm.load(folder)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        pare_llm.load(folder / "absent")


def test_a_request_for_an_unknown_tensor_names_the_nearest_one(write_checkpoint):
    tensors = pare_llm.load(write_checkpoint("dense", {}, {"model.fc1.weight": torch.ones(2)}))
    with pytest.raises(
        KeyError, match=r"has no tensor model\.fc2\.weight; the nearest is model\.fc1\.weight"
    ):
        tensors["model.fc2.weight"]
