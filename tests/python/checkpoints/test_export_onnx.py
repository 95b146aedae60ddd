"""Tests what `export_onnx` refuses before it runs the model builder. `tests/peers/gptq_test.ts` runs it."""

import importlib.util
import json
from pathlib import Path

import pare_llm
import pytest
import torch
from safetensors.torch import save_file


def write_checkpoint(folder: Path, quantization: dict[str, object] | None) -> Path:
    folder.mkdir()
    save_file({"a.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    config = {} if quantization is None else {"quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_another_layout_is_refused_by_a_message_that_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    cases: list[dict[str, object] | None] = [
        None,
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "gptq", "bits": 3},
    ]
    for i, quantization in enumerate(cases):
        folder = write_checkpoint(tmp_path / str(i), quantization)
        with pytest.raises(ValueError, match=r"is not in the layout gptq .*pare export FOLDER --format gptq"):
            pare_llm.export_onnx(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named_with_the_extra_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    folder = write_checkpoint(tmp_path / "gptq", {"quant_method": "gptq", "bits": 4})
    with pytest.raises(
        ModuleNotFoundError, match=r'onnx, which is not installed: pip install "pare-llm\[onnx\]"'
    ):
        pare_llm.export_onnx(folder, tmp_path / "out")


def test_an_existing_output_is_not_replaced(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "gptq", {"quant_method": "gptq", "bits": 4})
    with pytest.raises(FileExistsError, match="exists already"):
        pare_llm.export_onnx(folder, folder)
