"""`prune_` without a client solves the layers in this process, with the result of a host."""

from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import Pare, prune_
from pruning.pruning_support import tiny_model, token_batches, zeros_of
from ranks import run_on_ranks
from torch import distributed as dist

# The models are small, and the weights of the first block differ by rounding errors of float32, which the
# hidden states of later blocks carry on.
TOLERANCE = 1e-4


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {"sparsity": 0.5}),
        ("opt", {"pattern": "2:4", "true_sequential": True}),
        ("gpt2", {"bits": 4, "group_size": 16}),
        ("qwen3_moe", {"method": "wanda", "sparsity": 0.6}),
        ("mixtral", {"sparsity": 0.5, "allocate": "error"}),
        ("llama", {"method": "magnitude"}),
    ],
)
def test_a_model_has_the_zeros_and_the_weights_of_a_host(
    kind: str, options: dict[str, Any], host: HostProcess
) -> None:
    local, expected = tiny_model(kind), tiny_model(kind)
    batches = token_batches(8, rows=4)
    report = prune_(local, batches, progress=False, **options)
    other = prune_(expected, batches, Pare(host.url), progress=False, **{"method": "sparsegpt", **options})
    assert [layer.name for layer in report.layers] == [layer.name for layer in other.layers]
    assert (report.zeros, report.facts.parameters) == (other.zeros, other.facts.parameters)
    assert report.facts.validation_samples == 4
    assert report.zeros > 0.45 * report.entries
    for name, weight in local.named_parameters():
        assert torch.equal(weight == 0, expected.get_parameter(name) == 0), name
        torch.testing.assert_close(weight, expected.get_parameter(name), rtol=0, atol=TOLERANCE)


def test_magnitude_needs_no_batches_and_no_host() -> None:
    model = tiny_model("llama")
    report = prune_(model, [], method="magnitude", pattern="2:4", progress=False)
    assert zeros_of([model.get_parameter(layer.weight_name) for layer in report.layers]) == report.zeros
    assert report.zeros == report.entries / 2
    assert {layer.report["loss"] for layer in report.layers} == {None}


def test_the_report_has_at_most_ten_lines_with_the_method_and_the_device() -> None:
    with pytest.warns(UserWarning, match="fewer calibration tokens than columns reached"):
        report = prune_(tiny_model("mixtral"), token_batches(2), skip="*.0.*", progress=False)
    lines = str(report).splitlines()
    assert len(lines) <= 10
    assert "method sparsegpt" in lines[1]
    assert lines[3] == f"solved on: cpu (PyTorch {torch.__version__} on cpu)"
    assert [line.split(":")[0] for line in lines[-2:]] == ["left dense", "warning"]


def test_a_run_that_was_stopped_continues_from_its_journal(tmp_path: Any) -> None:
    batches = token_batches(2)
    whole = tiny_model("opt")
    prune_(whole, batches, progress=False)
    count = 0

    def stop(_: object) -> None:
        nonlocal count
        count += 1
        if count == 8:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        prune_(tiny_model("opt"), batches, journal=tmp_path, on_layer=stop, progress=False)
    model = tiny_model("opt")
    report = prune_(model, batches, journal=tmp_path, progress=False)
    assert report.facts.resumed == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "alps"},
        {"target": "dense"},
        {"reconstruct": 3},
        {"damping": "auto"},
        {"profile": [{"match": "*.0.*", "method": "obc"}]},
    ],
    ids=str,
)
def test_an_option_that_needs_a_host_is_refused_before_the_first_forward_pass(
    options: dict[str, Any],
) -> None:
    model = tiny_model("llama")
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=r": needs a host\. Start one with `deno task serve`"):
        prune_(model, token_batches(2), progress=False, **options)


def prune_share(kind: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Prune on this rank, and return the weights and the errors that the ranks report."""
    model = tiny_model(kind)
    report = prune_(model, token_batches(4)[dist.get_rank() :: dist.get_world_size()], progress=False)
    return model.state_dict(), [f"{layer.report['loss']}" for layer in report.layers]


def test_two_ranks_without_a_client_end_with_the_same_bits_and_the_zeros_of_one_rank() -> None:
    (first, losses), (second, other_losses) = run_on_ranks(prune_share, 2, "llama")
    model = tiny_model("llama")
    report = prune_(model, token_batches(4), progress=False)
    whole = model.state_dict()
    assert losses == other_losses
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert zeros_of([first[layer.weight_name] for layer in report.layers]) == report.zeros
    differing = sum(int(((first[name] == 0) != (values == 0)).sum()) for name, values in whole.items())
    assert differing < 0.01 * report.entries  # sums in another order may change a close choice


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_on_a_gpu_is_solved_there_and_has_the_zeros_of_the_cpu() -> None:
    batches = token_batches(4)
    local, expected = tiny_model("llama").cuda(), tiny_model("llama")
    report = prune_(local, [batch.cuda() for batch in batches], progress=False)
    prune_(expected, batches, progress=False)
    assert {layer.report["backend"] for layer in report.layers} == {"cuda"}
    for layer in report.layers:
        weights = [model.get_parameter(layer.weight_name).cpu() for model in (local, expected)]
        assert float(((weights[0] == 0) != (weights[1] == 0)).float().mean()) < 0.01
