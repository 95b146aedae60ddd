"""Tests that `BlockHost` creates states, has blocks pruned and statistics added, and deletes the states."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HostProcess
from pare_llm import BlockHost, PareError, TransportOptions
from safetensors.numpy import load_file

from client.fake_server import Reply, Start

FOLDER = Path(__file__).parents[2] / "fixtures/families/gpt2"
WINDOWS = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


@pytest.fixture(scope="module")
def model() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the configuration, and the tensors before the first block and those of this block."""
    tensors = load_file(FOLDER / "model.safetensors")
    names = sorted(tensors)
    prefix = next(name for name in names if "h.0." in name).partition("h.0.")[0]
    block = {name: tensors[name] for name in names if name.startswith(f"{prefix}h.0.")}
    block = {
        name: tensor for name, tensor in block.items() if not name.endswith((".attn.bias", ".masked_bias"))
    }
    embedding = {f"{prefix}{name}": tensors[f"{prefix}{name}"] for name in ("wte.weight", "wpe.weight")}
    return json.loads((FOLDER / "config.json").read_text()), embedding, block


def test_a_host_runs_and_prunes_blocks(
    host: HostProcess, model: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
) -> None:
    config, embedding, block = model
    states = BlockHost(TransportOptions(host.url), "python")
    assert states.next_block() is None
    states.create(config, embedding, WINDOWS, WINDOWS[:1], names=list(block))
    assert states.next_block() == 0
    name = next(name for name in block if name.endswith("mlp.c_fc.weight"))
    layers: Any = {name: {"sparsity": 0.5}}
    stored = states.run(0, block, layers, kind="collect")
    assert stored.sums == {name: (12, 4)}
    inputs = block[name].shape[0]  # GPT-2 stores its weights as (in, out)
    zeros = np.zeros(inputs * (inputs + 1) // 2, np.float32)
    own, validation = states.add_sums(name, zeros)
    assert own.dtype == np.float32
    assert own.any()
    assert validation is not None
    twice, _ = states.add_sums(name, own)
    assert np.array_equal(twice, 2 * own)
    solved = states.run(0, block, layers)
    assert solved.layers[name].weight.shape == block[name].shape[::-1]
    assert solved.layers[name].report["zeros"] == np.count_nonzero(solved.layers[name].weight == 0)
    assert solved.error is not None
    assert states.next_block() == 1
    states.delete()
    states.delete()
    with pytest.raises(PareError, match="states_not_found"):
        states.run(1, block)


def test_a_host_gives_the_same_weights_with_the_rows_of_some_ids(
    host: HostProcess, model: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
) -> None:
    config, embedding, block = model
    name = next(name for name in block if name.endswith("mlp.c_fc.weight"))
    table = next(name for name in embedding if name.endswith("wte.weight"))
    ids = list(range(12, 0, -1))
    states = BlockHost(TransportOptions(host.url), "rows")
    states.create(config, embedding, WINDOWS, names=list(block))
    whole = states.run(0, block, {name: {"sparsity": 0.5}})
    rows = {**embedding, table: embedding[table][ids]}
    windows = [[ids.index(token) for token in window] for window in WINDOWS]
    states.create(config, rows, windows, names=list(block))
    assert states.next_block() == 0
    some = states.run(0, block, {name: {"sparsity": 0.5}})
    assert np.array_equal(some.layers[name].weight, whole.layers[name].weight)
    states.delete()


def test_windows_of_different_lengths_are_refused() -> None:
    states = BlockHost(TransportOptions("http://127.0.0.1:9"), "x")
    with pytest.raises(ValueError, match="windows: all must have the same length"):
        states.create({}, {}, [[1], [1, 2]])


def answer(metadata: dict[str, str]) -> Reply:
    header = json.dumps({"__metadata__": metadata}).encode()
    return Reply(200, len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    "metadata", [{}, {"block": "{}"}, {"block": '{"layers": [{"nom": "x"}]}'}, {"block": "[" * 100_000}]
)
def test_an_answer_that_is_no_block_is_refused(start: Start, metadata: dict[str, str]) -> None:
    states = BlockHost(TransportOptions(start(answer(metadata)).url), "x")
    with pytest.raises(ValueError, match="is not a pruned block"):
        states.run(0, {"x": np.zeros((1, 1), np.float32)})


@pytest.mark.parametrize(
    ("error", "expected"), [('"error": 0.5, ', 0.5), ('"error": null, ', math.nan), ("", None)]
)
def test_an_error_that_is_not_finite_is_nan(start: Start, error: str, expected: float | None) -> None:
    states = BlockHost(TransportOptions(start(answer({"block": f'{{{error}"layers": []}}'})).url), "x")
    assert states.run(0, {"x": np.zeros((1, 1), np.float32)}).error == pytest.approx(expected, nan_ok=True)
