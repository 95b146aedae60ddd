"""Hosts that answer with a block that is not what was asked for."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import MODELS, HostProcess
from pare_llm import BlockHost, TransportOptions
from safetensors.numpy import load, load_file, save

from client.fake_server import FakeServer, Received, Reply, Start, forward

FOLDER = MODELS / "opt-sotu"
PREFIX = "model.decoder.layers.0."
QUERY, OUTPUT, WIDE = (f"{PREFIX}{name}.weight" for name in ("self_attn.q_proj", "self_attn.out_proj", "fc1"))
LAYERS: dict[str, Any] = {
    QUERY: {"sparsity": 0.5},
    OUTPUT: {"method": "wanda", "sparsity": 0.3},
    WIDE: {"pattern": "2:4", "bits": 4},
}

Tensors = dict[str, np.ndarray]
Lie = Callable[[Tensors, dict[str, Any]], None]


@pytest.fixture(scope="module")
def block() -> Tensors:
    """Return the tensors of the first block of a trained model, in float16."""
    tensors = load_file(FOLDER / "model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}


@pytest.fixture(scope="module")
def answers(host: HostProcess, block: Tensors) -> dict[int, bytes]:
    """Return the honest answers about the block, without a reconstruction and with eight epochs."""
    bodies: dict[int, bytes] = {}

    def record(received: Received) -> Reply:
        reply = forward(host.url, received)
        bodies[epochs] = reply.body
        return reply

    config = json.loads((FOLDER / "config.json").read_text())
    windows = np.random.default_rng(0).integers(3, config["vocab_size"], (8, 64)).tolist()
    tensors = load_file(FOLDER / "model.safetensors")
    embedding = {name: tensor for name, tensor in tensors.items() if ".embed_" in name}
    proxy = FakeServer(record)
    states = BlockHost(TransportOptions(proxy.url), "answers")
    for epochs in (0, 8):
        states.create(config, embedding, windows, names=list(block))
        states.run(0, block, layers_with(epochs), reconstruct=epochs)
    proxy.close()
    return bodies


def layers_with(epochs: int) -> dict[str, Any]:
    """Return the layers of a request. A reconstruction improves a block that was pruned by magnitude."""
    query = {"method": "magnitude", "sparsity": 0.8}
    return {QUERY: query, WIDE: query} if epochs else LAYERS


def put(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Lie:
    """Return a lie that replaces one tensor."""
    return lambda tensors, _: tensors.update({name: change(tensors[name])})


def zero_one_more(weight: np.ndarray) -> np.ndarray:
    weight = weight.copy()
    weight[tuple(np.argwhere(weight)[0])] = 0
    return weight


def fill(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that fills the last zero."""

    def change(weight: np.ndarray) -> np.ndarray:
        weight = weight.copy()
        weight[tuple(np.argwhere(weight == 0)[-1])] = value
        return weight

    return change


def move_the_zeros(tensors: Tensors, _: dict[str, Any]) -> None:
    tensors[QUERY], tensors[f"{QUERY}.mask"] = (
        tensors[QUERY][::-1].copy(),
        tensors[f"{QUERY}.mask"][::-1].copy(),
    )


def exchange(tensors: Tensors, block: dict[str, Any]) -> None:
    """Exchange two layers of one shape, with their masks and reports."""
    for part in ("", ".mask", ".probe"):
        first, second = QUERY + part, OUTPUT + part
        tensors[first], tensors[second] = tensors[second], tensors[first]
    reports = {layer["name"]: layer for layer in block["layers"]}
    reports[QUERY]["report"], reports[OUTPUT]["report"] = reports[OUTPUT]["report"], reports[QUERY]["report"]


def remove(name: str) -> Lie:
    def change(tensors: Tensors, _: dict[str, Any]) -> None:
        del tensors[name]

    return change


def without_layer(_: Tensors, block: dict[str, Any]) -> None:
    block["layers"] = block["layers"][1:]


def rename(_: Tensors, block: dict[str, Any]) -> None:
    block["layers"][0]["name"] = WIDE.replace("fc1", "fc2")


def twice(_: Tensors, block: dict[str, Any]) -> None:
    block["layers"].append(block["layers"][0])


CONTRADICTION = r"the (relative error|loss) is \S+, but the report says \S+$"
LIES = {
    "a filled zero": (put(QUERY, fill(1e-3)), "the weight is not zero everywhere that its mask is False"),
    "moved zeros": (move_the_zeros, CONTRADICTION),
    "another shape": (
        put(QUERY, lambda weight: weight[:96].copy()),
        r"the tensor weight is F16 \[96, 192\] instead of F16 \[192, 192\]",
    ),
    "times 1.5": (put(QUERY, lambda weight: 1.5 * weight), CONTRADICTION),
    "times 0.5": (put(QUERY, lambda weight: 0.5 * weight), CONTRADICTION),
    "wanda times 1.5": (put(OUTPUT, lambda weight: 1.5 * weight), "a kept weight differs from the request"),
    "exchanged": (exchange, "the mask prunes 11059 of 36864 entries, but the request asks for 18432"),
    "codes": (put(f"{WIDE}.codes", lambda codes: codes ^ 1), "a weight is not the value of its code"),
    "no mask": (remove(f"{QUERY}.mask"), 'tensor "mask" is missing'),
    "no inputs": (remove(f"{QUERY}.probe"), 'tensor "probe" is missing'),
    "few inputs": (
        put(f"{QUERY}.probe", lambda probe: probe[:1].copy()),
        r"probe is F32 \[1, 192\] instead of",
    ),
    "a missing layer": (without_layer, "the layer .* is missing"),
    "another layer": (rename, "the layer .* (is missing|was not requested)"),
    "a layer twice": (twice, "a layer occurs twice"),
}
TRAINED = f"trained.{QUERY}"
TRAINED_LIES = {
    "nan": (put(TRAINED, fill(np.nan)), "has a number that is not finite"),
    "a filled zero": (put(TRAINED, fill(1e-3)), "the weight is not zero everywhere that its mask is False"),
    "one more zero": (put(TRAINED, zero_one_more), "1 weights are 0, although the mask keeps them"),
    "another dtype": (put(TRAINED, lambda weight: weight.astype(np.float32)), "F32 .* instead of F16"),
    "another tensor": (
        lambda tensors, _: tensors.update({"trained.lm_head.weight": tensors[TRAINED]}),
        "the trained tensor lm_head.weight was not requested",
    ),
}
CASES = [(0, *lie) for lie in LIES.values()] + [(8, *lie) for lie in TRAINED_LIES.values()]


@pytest.mark.parametrize(
    ("epochs", "lie", "problem"), CASES, ids=[*LIES, *(f"trained {n}" for n in TRAINED_LIES)]
)
def test_a_block_that_was_not_asked_for_is_refused(
    start: Start, block: Tensors, answers: dict[int, bytes], epochs: int, lie: Lie, problem: str
) -> None:
    answer = answers[epochs]
    length = int.from_bytes(answer[:8], "little")
    described = json.loads(json.loads(answer[8 : 8 + length])["__metadata__"]["block"])
    tensors = load(answer)
    lie(tensors, described)
    server = start(Reply(body=save(tensors, {"block": json.dumps(described)})))
    states = BlockHost(TransportOptions(server.url), "lies")
    with pytest.raises(ValueError, match=f"^answer of /v1/blocks: .*{problem}"):
        states.run(0, block, layers_with(epochs), reconstruct=epochs)


def test_the_answer_for_another_block_is_refused(
    start: Start, block: Tensors, answers: dict[int, bytes]
) -> None:
    states = BlockHost(TransportOptions(start(Reply(body=answers[0])).url), "lies")
    other = {name: tensor[::-1].copy() for name, tensor in block.items()}
    with pytest.raises(ValueError, match=r"^answer of /v1/blocks: the layer "):
        states.run(0, other, LAYERS)
