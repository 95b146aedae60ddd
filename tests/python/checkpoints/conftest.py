"""A fixture for tests of checkpoints, which writes checkpoint folders."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

Writer = Callable[..., Path]


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Writer:
    """Return a function that writes a checkpoint folder.

    Its arguments are the name of the folder, the content of config.json, and one dict of tensors per shard.
    """

    def write(name: str, config: Mapping[str, Any], *shards: dict[str, torch.Tensor]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        if len(shards) == 1:
            save_file(shards[0], folder / "model.safetensors")
            return folder
        weight_map = {}
        for number, tensors in enumerate(shards, 1):
            file = f"model-{number:05}-of-{len(shards):05}.safetensors"
            save_file(tensors, folder / file)
            weight_map |= dict.fromkeys(tensors, file)
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return write
