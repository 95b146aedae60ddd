"""Tests that `from_pretrained` makes the model that transformers loads from the dense checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pare_llm
import pytest
import torch
from conftest import MODELS, PARE, ROOT, run_deno
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig, OPTConfig, OPTForCausalLM

from .same_bits import assert_same_bits

TOKENS = torch.tensor([[1, 300, 2, 45, 1999, 8, 77, 512]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Run the model in float32 without gradients."""
    with torch.inference_mode():
        result: torch.Tensor = model.float()(TOKENS).logits
    return result


def assert_same_model(packed: Path, unpacked: Path) -> None:
    """Assert that the packed checkpoint gives the model that transformers loads from the unpacked one."""
    model = pare_llm.from_pretrained(packed)
    dense = AutoModelForCausalLM.from_pretrained(unpacked)
    assert model.dtype == dense.dtype
    assert not model.training
    assert not hasattr(model.config, "quantization_config")
    assert_same_bits(model.state_dict(), dense.state_dict())
    tied = model.config.tie_word_embeddings
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    assert torch.equal(logits(model), logits(dense))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("opt-sotu", ["--method", "magnitude", "--bits", "8"]),
        ("bloom-sotu", ["--method", "magnitude", "--bits", "4", "--group-size", "32"]),
        ("llama-sotu", ["--method", "sparsegpt", "--bits", "4"]),
    ],
)
def test_a_packed_model_has_the_parameters_of_the_unpacked_one(tmp_path, name, options):
    text = shutil.copy(ROOT / "README.md", tmp_path / "calibration.txt")
    options = [
        "--calibration",
        text,
        "--samples",
        "2",
        "--seqlen",
        "32",
        "--format",
        "pack-quantized",
        *options,
    ]
    run_deno(PARE, "prune", MODELS / name, *options, "--out", tmp_path / "packed")
    run_deno(PARE, "unpack", tmp_path / "packed", "--out", tmp_path / "unpacked")
    assert_same_model(tmp_path / "packed", tmp_path / "unpacked")


def small_opt() -> OPTForCausalLM:
    """Return a random model whose embedding is not tied."""
    sizes = {
        "vocab_size": 32,
        "hidden_size": 8,
        "ffn_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = OPTConfig(**sizes, word_embed_proj_dim=8, max_position_embeddings=16, tie_word_embeddings=False)
    return OPTForCausalLM(config)


def test_the_model_has_the_generation_settings_and_the_requested_dtype(tmp_path):
    model = small_opt()
    model.generation_config = GenerationConfig(max_length=7)
    model.save_pretrained(tmp_path)
    loaded = pare_llm.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.generation_config.max_length == 7
    assert loaded.dtype == torch.bfloat16
    expected = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    assert_same_bits(loaded.state_dict(), expected)


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors in the weight file of a folder."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_checkpoint_that_lacks_a_tensor_is_refused_instead_of_filled_with_random_numbers(tmp_path):
    small_opt().save_pretrained(tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.pop("model.decoder.layers.0.fc1.weight"))
    with pytest.raises(ValueError, match=r"lacks 1 tensors .* first one is model\.decoder\.layers\.0\.fc1"):
        pare_llm.from_pretrained(tmp_path)


def test_a_checkpoint_with_a_tensor_of_another_shape_is_refused(tmp_path):
    small_opt().save_pretrained(tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.update({"lm_head.weight": torch.ones(32, 9)}))
    with pytest.raises(ValueError, match=r"lm_head\.weight must have the shape \[32, 8\], not \[32, 9\]"):
        pare_llm.from_pretrained(tmp_path)


def test_code_in_the_folder_is_not_run(tmp_path):
    small_opt().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "custom",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="custom"):
        pare_llm.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()
