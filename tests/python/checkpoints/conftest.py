"""Fixtures for tests of checkpoints: the command `pare`, and writers of checkpoint folders."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[3]
Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def run_script() -> Callable[..., None]:
    """Return a function that runs a TypeScript file of the repository with the given arguments."""
    deno = shutil.which("deno")
    command = [deno] if deno else ["npx", "-y", "deno@2.9.6"]

    def run(script: str, *args: str | Path) -> None:
        whole = [*command, "run", "-A", "--quiet", "--no-check", script, *map(str, args)]
        done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def pare(run_script: Callable[..., None]) -> Callable[..., None]:
    """Return a function that runs the command `pare` with the given arguments."""
    return partial(run_script, "src/cli/main.ts")


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
