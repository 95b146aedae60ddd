"""`prune_` with a real host: its perplexity is that of `pare prune`, and it survives lost hosts."""

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from client.fake_server import FakeServer, Received, Reply, solved
from client.test_wrong_answers import Lie, Parts, scale
from conftest import MODELS, PARE, HostProcess, run_deno
from pare_llm import Pare, PareHosts, TransportOptions, prune_, prune_folder
from pruning_support import (
    calibration_windows,
    perplexity,
    text_files,
    tiny_model,
    token_batches,
    trained_model,
    zeros_of,
)

SAMPLES = 16
EVALUATION_WINDOWS = 24


def pare_prune(name: str, out: Path, *options: str) -> None:
    """Prune a trained model with the command line, and with its default number of held-out windows."""
    text = ["--calibration", text_files()["calibration"], "--samples", str(SAMPLES), "--seqlen", "256"]
    run_deno(PARE, "prune", MODELS / name, "--out", out, *text, *options, "--backend", "cpu")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("opt-sotu", {}),
        ("llama-sotu", {"method": "sparsegpt", "target": "dense"}),
        (
            "llama-sotu",
            {"sparsity": 0.5, "method": "sparsegpt", "bits": 4, "group_size": 32, "reconstruct": 2},
        ),
    ],
)
def test_the_perplexity_is_that_of_the_command_line(
    name: str, options: Any, host: HostProcess, tmp_path: Path
) -> None:
    pare_prune(name, tmp_path, *(f"--{key.replace('_', '-')}={value}" for key, value in options.items()))
    by_command = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    model = trained_model(name)
    batches = calibration_windows(name, SAMPLES).split(4)
    report = prune_(model, batches, Pare(host.url), progress=False, **options)
    assert report.facts.validation_samples == SAMPLES // 8
    assert report.sparsity == 0.5
    assert all((layer.report.get("validation_error") or 0) > 0 for layer in report.layers)
    weights = [model.get_parameter(layer.weight_name) for layer in report.layers]
    assert zeros_of(weights) >= report.zeros == report.entries // 2
    # A kept weight may be rounded to 0.
    assert "bits" in options or zeros_of(weights) == report.zeros
    expected = perplexity(by_command, name, EVALUATION_WINDOWS)
    assert perplexity(model, name, EVALUATION_WINDOWS) == pytest.approx(expected, rel=0.005)


def test_the_reconstruction_lowers_the_perplexity_on_other_text(host: HostProcess) -> None:
    perplexities: list[float] = []
    for epochs in (0, 3):
        model = trained_model("opt-sotu")
        batches = calibration_windows("opt-sotu", SAMPLES).split(4)
        options: Any = {"method": "sparsegpt", "pattern": "2:4", "reconstruct": epochs}
        report = prune_(model, batches, Pare(host.url), progress=False, **options)
        weights = [model.get_parameter(layer.weight_name) for layer in report.layers]
        # A kept weight of an input that was always 0 is 0 too.
        assert zeros_of(weights) >= report.zeros == report.entries // 2
        perplexities.append(perplexity(model, "opt-sotu", EVALUATION_WINDOWS))
    assert perplexities[1] < 0.98 * perplexities[0]


def test_two_of_four_weights_are_kept_with_the_pattern_2_4(host: HostProcess) -> None:
    model = tiny_model("llama")
    report = prune_(
        model, token_batches(4), Pare(host.url), method="sparsegpt", pattern="2:4", progress=False
    )
    for layer in report.layers:
        groups = model.get_parameter(layer.weight_name).detach().reshape(-1, 4)
        assert int((groups != 0).sum(1).max()) == 2
        assert layer.report["pattern"] == "2:4"


def test_kept_weights_lie_on_a_grid_with_bits(host: HostProcess) -> None:
    model = tiny_model("gpt2")
    report = prune_(model, token_batches(4), Pare(host.url), method="sparsegpt", bits=3, progress=False)
    for layer in report.layers:
        weight = model.get_parameter(layer.weight_name).detach().T  # Conv1D stores (in, out)
        assert int((weight == 0).sum()) >= weight.numel() // 2
        assert all(lies_on_grid(row, codes=8) for row in weight)


def lies_on_grid(row: torch.Tensor, *, codes: int) -> bool:
    """Return whether the values of a row, one of which is 0, lie on a grid with so many codes."""
    values = row.unique().double()
    span = values.max() - values.min()
    multiples = [values / (span / steps) for steps in range(1, codes)]
    return any(bool(((m - m.round()).abs() < 1e-4).all()) for m in multiples)


@pytest.mark.parametrize("kind", ["gpt2", "bloom"])
def test_conv1d_and_linear_layers_lose_half_of_their_weights(kind: str, host: HostProcess) -> None:
    model = tiny_model(kind)
    report = prune_(model, token_batches(4), Pare(host.url), progress=False)
    for layer in report.layers:
        weight = model.get_parameter(layer.weight_name)
        shape = (layer.report["rows"], layer.report["cols"])
        assert tuple(weight.shape) == (shape[::-1] if kind == "gpt2" else shape)
        assert int((weight == 0).sum()) == layer.report["zeros"] == weight.numel() // 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_the_dtype_of_the_model(dtype: torch.dtype, host: HostProcess) -> None:
    model = tiny_model("llama").to(dtype)
    report = prune_(model, token_batches(2), Pare(host.url), progress=False)
    weights = [model.get_parameter(layer.weight_name) for layer in report.layers]
    assert {weight.dtype for weight in weights} == {dtype}
    assert zeros_of(weights) == report.zeros


class Counting:
    """Makes a client call `on_call` before it sends layer number `call`, counted from 1."""

    call = 0
    on_call: Callable[[], None]
    calls = 0

    def prune_layer(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self.call:
            self.on_call()
        return super().prune_layer(*args, **options)


class CountingPare(Counting, Pare):
    """A client of one host."""


class CountingHosts(Counting, PareHosts):
    """A client of several hosts."""


def test_if_one_of_two_hosts_is_killed_the_other_solves_its_layers(host: HostProcess) -> None:
    one, two = tiny_model("opt"), tiny_model("opt")
    batches = token_batches(3)
    prune_(one, batches, Pare(host.url), progress=False)
    other = HostProcess()
    lost: list[str] = []
    options = [TransportOptions(url, retries=1, backoff_ms=10) for url in (host.url, other.url)]
    hosts = CountingHosts(options, on_host_lost=lambda url, _: lost.append(url))
    hosts.call, hosts.on_call = 5, other.kill
    prune_(two, batches, hosts, progress=False)
    assert lost == [other.url]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_host_that_is_killed_and_restarted_finishes_the_run(host: HostProcess) -> None:
    one, two = tiny_model("opt"), tiny_model("opt")
    batches = token_batches(3)
    prune_(one, batches, Pare(host.url), progress=False)
    first = HostProcess()
    restarted: list[HostProcess] = []

    def kill_and_restart() -> None:
        first.kill()
        port = int(first.url.rsplit(":", 1)[1])
        # A thread starts the host, so that the run continues and its requests fail until the host is ready.
        threading.Thread(target=lambda: restarted.append(HostProcess(port=port))).start()

    retries: list[Exception] = []
    client = CountingPare(
        first.url, retries=20, backoff_ms=100, on_retry=lambda error, _: retries.append(error)
    )
    # The second of three layers that share their statistics, which the new host does not have.
    client.call, client.on_call = 8, kill_and_restart
    try:
        report = prune_(two, batches, client, progress=False)
    finally:
        for process in restarted:
            process.stop()
    assert len(report.layers) == 18
    assert retries
    assert len(restarted) == 1
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


MODEL = MODELS / "opt-sotu"


def set_nan(parts: Parts) -> None:
    parts.weight[-1, -1] = np.nan


def honest_twice(lie: Lie) -> str:
    """Start a host that changes its third answer by `lie`, and return its URL."""
    layers = count()

    def answer(received: Received) -> Reply:
        if not (received.method == "POST" and received.body):
            return solved(received)
        parts = Parts(received)
        if next(layers) == 2:
            lie(parts)
        return Reply(body=parts.encode())

    return FakeServer(answer).url


def test_prune_folder_publishes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="the tensor weight has a number that is not finite"):
        prune_folder(MODEL, [], Pare(honest_twice(set_nan)), out, method="magnitude", progress=False)
    assert not (out / "model.safetensors.index.json").exists()
    assert not (out / "pare.json").exists()


@pytest.mark.parametrize(
    ("method", "lie", "problem"),
    [
        ("magnitude", set_nan, "the tensor weight has a number that is not finite"),
        ("sparsegpt", set_nan, "the tensor weight has a number that is not finite"),
        ("sparsegpt", scale, "the relative error is .*, but the report says"),
    ],
)
def test_prune_leaves_the_weight_as_it_was(method: Any, lie: Lie, problem: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    batches = [] if method == "magnitude" else token_batches(2)
    with pytest.raises(ValueError, match=problem):
        prune_(model, batches, Pare(honest_twice(lie)), method=method, progress=False)
    changed = [name for name, weight in model.state_dict().items() if not weight.equal(before[name])]
    assert len(changed) == 2
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
