"""Mistakes are refused before the first forward pass, by name."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import MlflowTracker, Pare, PareError, PareHosts, TransportOptions, prune_
from pruning_support import LocalClient, require_equal, run, tiny_model, token_batches
from torch import nn
from torch.ao.quantization import default_weight_fake_quant
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.data import DataLoader, TensorDataset
from transformers import MambaConfig, MambaForCausalLM

UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def keyed() -> Iterator[str]:
    """Return the URL of a host that accepts the key `right`."""
    process = HostProcess(env={"PARE_KEYS": hashlib.sha256(b"right").hexdigest()})
    Pare(process.url).describe_host()
    yield process.url
    process.stop()


def refusal(model: nn.Module, client: Any, **options: Any) -> Exception:
    """Return the error of a call of `prune_` that runs no forward pass."""
    calls: list[object] = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        prune_(model, token_batches(2), client, progress=False, **options)
    assert not calls, "a forward pass ran before the error"
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)
    return caught.value


class HalfTracker:
    def on_layer(self, _: Any) -> None:
        """Do nothing."""


MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"sparsty": 0.5}, TypeError, "prune_: has no parameter 'sparsty'; did you mean 'sparsity'?"),
    ({"skip": "fc1", "ignore": "fc2"}, TypeError, "skip: is another name of ignore, so only one of the two"),
    ({"speed": 3}, TypeError, "prune_: has no parameter 'speed'; it has allocate, bits, "),
    ({"sparsity": "0.5"}, TypeError, "sparsity: must be a number, got str '0.5'"),
    ({"sparsity": "0.5", "allocate": "owl"}, TypeError, "sparsity: must be a number, got str '0.5'"),
    ({"sparsity": True}, TypeError, "sparsity: must be a number, got bool True"),
    ({"bits": 4.0}, TypeError, "bits: must be a whole number, got float 4.0"),
    ({"damping": "car"}, TypeError, "damping: must be a number or 'auto', got str 'car'"),
    ({"method": "alp"}, ValueError, "method: must be 'sparsegpt' or 'magnitude' or 'wanda' or "),
    (
        {"profile": [{"match": "fc1", "bits": "4"}]},
        TypeError,
        "profile: rule 0: bits: must be a whole number",
    ),
    ({"sparsity": 50}, PareError, "invalid_parameter (400): sparsity: must be a fraction from 0 to below 1"),
    ({"sparsity": float("nan")}, PareError, "invalid_parameter (400): sparsity: must be "),
    ({"pattern": "4:2"}, PareError, "invalid_parameter (400): pattern: "),
    ({"bits": 9}, PareError, "invalid_parameter (400): bits: must be a whole number from 2 to 8, got 9"),
    (
        {"profile": [{"match": "fc1", "sparsity": 50}]},
        PareError,
        "invalid_parameter (400): sparsity: must be ",
    ),
    ({"tracker": MlflowTracker}, TypeError, "tracker: must be an object with the methods on_start, on_"),
    ({"tracker": HalfTracker()}, TypeError, "on_report, got HalfTracker"),
    ({"target": "dens"}, ValueError, "target: must be dense or none"),
]


@pytest.mark.parametrize(("options", "kind", "message"), MISTAKES)
def test_a_wrong_argument_is_refused_before_any_forward_pass(
    options: dict[str, Any], kind: type[Exception], message: str, host: HostProcess
) -> None:
    error = refusal(tiny_model("opt"), Pare(host.url), **options)
    assert type(error) is kind
    assert message in str(error)


HOSTS: list[tuple[Callable[[str], Any], type[Exception], str]] = [
    (lambda _: Pare(UNREACHABLE, retries=0), ConnectionError, UNREACHABLE),
    (lambda url: Pare(url, "wrong"), PareError, "unauthorized (401)"),
    (lambda url: [Pare(url, "right"), Pare(url, "wrong")], PareError, "unauthorized (401)"),
    (lambda _: PareHosts([TransportOptions(UNREACHABLE, retries=0)] * 2), ConnectionError, UNREACHABLE),
]


@pytest.mark.parametrize(("client", "kind", "message"), HOSTS)
@pytest.mark.parametrize("options", [{}, {"allocate": "owl"}])
def test_a_host_that_cannot_be_used_is_refused_before_any_forward_pass(
    options: Any, client: Callable[[str], Any], kind: type[Exception], message: str, keyed: str
) -> None:
    error = refusal(tiny_model("opt"), client(keyed), **options)
    assert isinstance(error, kind)
    assert message in str(error)


def test_a_run_begins_if_one_of_several_hosts_can_be_reached(host: HostProcess) -> None:
    clients = [Pare(UNREACHABLE, retries=0), Pare(host.url)]
    report = prune_(tiny_model("opt"), token_batches(1), clients, layers="0.fc1", progress=False)
    assert report.sparsity == 0.5


def round_weights(linear: nn.Linear) -> None:
    linear.weight_fake_quant = default_weight_fake_quant()


COMPUTED: list[tuple[Callable[[nn.Linear], Any], str]] = [
    (
        lambda linear: prune.l1_unstructured(linear, "weight", 0.3),
        "torch.nn.utils.prune.remove(module, 'weight')",
    ),
    (weight_norm, "torch.nn.utils.remove_weight_norm(module)"),
    (spectral_norm, "torch.nn.utils.remove_spectral_norm(module)"),
    (parametrizations.weight_norm, "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')"),
    (parametrizations.spectral_norm, "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')"),
    (round_weights, "is rounded by weight_fake_quant (QAT) for each call; prune the model before"),
    (nn.Linear.double, "is stored as torch.float64, and hosts prune float32, float16 and bfloat16; convert"),
]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("change", "message"), COMPUTED)
def test_a_weight_that_cannot_be_pruned_in_place_is_refused_by_name(
    change: Callable[[nn.Linear], Any], message: str
) -> None:
    model = tiny_model("opt")
    change(model.model.decoder.layers[1].fc1)
    client = LocalClient()
    error = refusal(model, client, method="wanda")
    assert str(error).startswith("model.decoder.layers.1.fc1")
    assert message in str(error)
    assert not client.hessians


IDS = torch.ones(4, 8, dtype=torch.long)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (IDS, "batches: must be a list of batches, got a single Tensor; give a list"),
        ({"input_ids": IDS}, "batches: must be a list of batches, got a single dict"),
        ([(IDS, IDS)], "batch 0 must be a tensor of input_ids, a tuple of this one tensor, or a dict"),
        ([IDS, "text"], "batch 1 must be a tensor of input_ids, a tuple of this one tensor, or a dict"),
    ],
)
def test_batches_of_another_form_are_refused_by_name(batches: Any, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        run(tiny_model("opt"), batches=batches)


def test_the_batches_of_a_data_set_and_of_a_data_loader_are_accepted() -> None:
    windows = torch.cat(token_batches(2))
    models = [tiny_model("opt") for _ in range(3)]
    data = TensorDataset(windows)
    for model, batches in zip(models, (windows.split(1), data, DataLoader(data, batch_size=1)), strict=True):
        run(model, batches=batches)
        require_equal(model, models[0])


def test_ignore_may_name_matrices_that_are_never_pruned() -> None:
    assert len(run(tiny_model("opt"), ignore=["lm_head", "fc1"]).layers) == 15


def test_mamba_is_pruned_without_the_layers_that_it_does_not_call() -> None:
    config = MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=96, state_size=4)
    with pytest.raises(ValueError, match=r"dt_proj; .* leave these layers out with ignore="):
        run(MambaForCausalLM(config))
    assert len(run(MambaForCausalLM(config), ignore="dt_proj").layers) == 6
