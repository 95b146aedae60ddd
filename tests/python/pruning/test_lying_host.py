"""A host that lies about a layer does not get it into a model, neither in memory nor on the disk."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from client.fake_server import FakeServer, Received, Reply, solved
from client.test_wrong_answers import Parts
from conftest import MODELS
from pare_llm import Pare, prune_, prune_folder

MODEL = MODELS / "opt-sotu"


def honest_twice() -> str:
    """Start a host whose third answer has a NaN, and return its URL."""
    layers = count()

    def answer(received: Received) -> Reply:
        parts = Parts(solved(received).body)
        if next(layers) == 2:
            parts.weight[-1, -1] = np.nan
        return Reply(body=parts.encode())

    return FakeServer(answer).url


def test_prune_folder_publishes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="the tensor weight has a number that is not finite"):
        prune_folder(MODEL, [], Pare(honest_twice()), out, method="magnitude", progress=False)
    assert not (out / "model.safetensors.index.json").exists()
    assert not (out / "pare.json").exists()


def test_prune_leaves_the_weight_as_it_was() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(ValueError, match="the tensor weight has a number that is not finite"):
        prune_(model, [], Pare(honest_twice()), method="magnitude", progress=False)
    changed = [name for name, weight in model.state_dict().items() if not weight.equal(before[name])]
    assert len(changed) == 2
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
