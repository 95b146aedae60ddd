"""`prune_` on several ranks: each prunes some of the layers, and all of them end with the same bits."""

import re
from traceback import format_exception
from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import Pare, PareError, prune_
from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.capture import Capture
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.model.blocks import find_blocks
from pare_llm.pruning.ranks import Ranks
from pruning_support import LocalClient, tiny_model, token_batches
from ranks import run_on_ranks
from test_encoder_decoders import t5, whisper
from torch import Tensor
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

BATCHES = 5
"""The number of batches of all ranks. The first of two ranks has three of them."""


def wrapped(kind: str, wrapper: str) -> Any:
    """Return a small model as a training program wraps it."""
    model = tiny_model(kind)
    if wrapper == "ddp":
        return DistributedDataParallel(model)
    if wrapper in ("fsdp", "fsdp of everything"):
        blocks = model.model.decoder.layers if kind == "opt" else model.model.layers
        if wrapper == "fsdp of everything":
            fully_shard(model.get_input_embeddings())
            for block in blocks:
                fully_shard(block.mlp)
        for block in blocks:
            fully_shard(block)
    if wrapper.startswith("fsdp"):
        fully_shard(model)
    return model


def whole(values: Tensor) -> Tensor:
    """Return a parameter or a shard as a whole tensor."""
    return values.full_tensor() if isinstance(values, DTensor) else values


def prune_share(kind: str, wrapper: str, url: str | None, method: str) -> dict[str, Any]:
    """Prune on this rank, and return the weights, the names of the layers that it solved, and the report."""
    client = Pare(url) if url else LocalClient()
    model = wrapped(kind, wrapper)
    batches = token_batches(BATCHES)[dist.get_rank() :: dist.get_world_size()]
    with torch.no_grad():
        model(batches[0])  # after which FSDP2 leaves the parameters of the model gathered
    report = prune_(model, batches, client, method=method, progress=False)
    state = {name.removeprefix("module."): whole(p).detach() for name, p in model.named_parameters()}
    # The wrapped model must still run and train.
    output = model(input_ids=token_batches(1)[0]).logits
    output.square().mean().backward()
    solved = len(client.hessians) if isinstance(client, LocalClient) else None
    return {"state": state, "solved": solved, "report": report, "output": output.detach()}


def on_one_rank(kind: str, client: Any, method: str) -> tuple[Any, Any]:
    """Prune without `torch.distributed`."""
    model = tiny_model(kind)
    return model, prune_(model, token_batches(BATCHES), client, method=method, progress=False)


def prune_shares(kind: str, wrappers: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Prune one model after the other with the solver of this process."""
    return {wrapper: prune_share(kind, wrapper, None, "wanda") for wrapper in wrappers}


def require_equal_ranks(results: list[dict[str, Any]]) -> None:
    """Require that all ranks have the same bits and the same report."""
    for result in results[1:]:
        for name, values in results[0]["state"].items():
            assert torch.equal(values, result["state"][name]), f"{name} differs between the ranks"
        assert result["report"].layers == results[0]["report"].layers


WRAPPERS = ("none", "ddp", "fsdp", "fsdp of the model", "fsdp of everything")


@pytest.fixture(scope="module")
def shares() -> list[Any]:
    """Return the results of two ranks, by the wrapper of the model."""
    return run_on_ranks(prune_shares, 2, "llama", WRAPPERS)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_two_ranks_end_with_the_weights_of_one(wrapper: str, shares: list[Any]) -> None:
    results = [share[wrapper] for share in shares]
    require_equal_ranks(results)
    model, report = on_one_rank("llama", LocalClient(), "wanda")
    assert results[0]["report"].facts.samples == report.facts.samples == 2 * BATCHES
    assert sum(result["solved"] for result in results) == len(report.layers) == 21
    assert min(result["solved"] for result in results) >= 9  # both ranks solve layers
    for name, values in model.named_parameters():
        found = results[0]["state"][name]
        # Hessians that are summed in another order differ in their last bits.
        assert int((found == 0).sum()) == int((values == 0).sum()), name
        torch.testing.assert_close(found, values.detach(), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        logits = model(token_batches(1)[0]).logits
    torch.testing.assert_close(results[0]["output"], logits, rtol=1e-4, atol=1e-4)


def test_two_ranks_prune_sharded_experts_as_one_rank() -> None:
    wrappers = ("fsdp", "fsdp of everything")
    shares = run_on_ranks(prune_shares, 2, "mixtral", wrappers)
    model, report = on_one_rank("mixtral", LocalClient(), "wanda")
    for wrapper in wrappers:
        results = [share[wrapper] for share in shares]
        require_equal_ranks(results)
        tokens = [layer.tokens for layer in results[0]["report"].layers]
        assert tokens == [layer.tokens for layer in report.layers]
        for name, values in model.named_parameters():
            torch.testing.assert_close(results[0]["state"][name], values.detach(), rtol=1e-5, atol=1e-6)


def test_two_ranks_with_a_host_end_with_the_zeros_of_one(host: HostProcess) -> None:
    results = run_on_ranks(prune_share, 2, "opt", "fsdp", host.url, "sparsegpt")
    require_equal_ranks(results)
    model, report = on_one_rank("opt", Pare(host.url), "sparsegpt")
    state = results[0]["state"]
    for layer in report.layers:
        weight = model.get_parameter(layer.weight_name).detach()
        found = state[layer.weight_name]
        assert int((found == 0).sum()) == int((weight == 0).sum())
        different = int(((found == 0) != (weight == 0)).sum())
        assert different <= weight.numel() // 100, f"{layer.name}: {different} zeros have other places"
        assert (found - weight).norm() < 0.02 * weight.norm(), layer.name


def test_one_rank_may_have_no_batches() -> None:
    results = run_on_ranks(prune_without_batches, 2)
    model = tiny_model("llama")
    prune_(model, token_batches(2), LocalClient(), method="wanda", progress=False)
    for state in results:
        assert all(torch.equal(state[name], values) for name, values in model.named_parameters())


def prune_without_batches() -> dict[str, Tensor]:
    model = wrapped("llama", "fsdp")
    batches = token_batches(2) if dist.get_rank() == 1 else []
    prune_(model, batches, LocalClient(), method="wanda", progress=False)
    return {name: whole(values).detach() for name, values in model.named_parameters()}


def test_two_ranks_prune_a_sharded_stack_of_an_encoder_decoder_as_one_rank() -> None:
    results = run_on_ranks(prune_stacks, 2)
    for make, stack in STACKS:
        model, batches, stacks = make()
        options = {"blocks": blocks_of(model, stacks[stack]), "method": "wanda", "progress": False}
        prune_(model, batches, LocalClient(), **options)
        for name, values in model.named_parameters():
            for result in results:
                found = result[make.__name__, stack][name]
                torch.testing.assert_close(found, values.detach(), rtol=1e-5, atol=1e-6)


STACKS = [(make, stack) for make in (t5, whisper) for stack in ("encoder", "decoder")]


def blocks_of(model: Any, stack: str) -> list[Any]:
    return list(model.get_submodule(stack))


def prune_stacks() -> dict[tuple[str, str], dict[str, Tensor]]:
    """Prune stacks whose models run another stack first, or pass tensors from block to block."""
    states = {}
    for make, stack in STACKS:
        model, batches, stacks = make()
        for name in stacks.values():
            for block in blocks_of(model, name):
                fully_shard(block)
        fully_shard(model)
        options = {"blocks": blocks_of(model, stacks[stack]), "method": "wanda", "progress": False}
        prune_(model, batches[dist.get_rank() :: 2], LocalClient(), **options)
        states[make.__name__, stack] = {name: whole(p).detach() for name, p in model.named_parameters()}
    return states


FAMILIES = ("llama", "opt", "gpt2", "bloom", "gemma3_text", "mixtral")


def test_shards_give_the_same_bytes_before_the_first_block_as_whole_parameters() -> None:
    # The 96 rows of the embeddings are divided unevenly among five ranks, of which the last has no batch.
    results = run_on_ranks(captured_on_ranks, 5)
    for kind in FAMILIES:
        for tokens, result in zip(token_batches(4), results, strict=False):
            assert torch.equal(result[kind][0], captured(tiny_model(kind), [tokens])[0]), kind
        assert results[4][kind] == []


def captured(model: Any, batches: list[Tensor]) -> list[Tensor]:
    """Return the inputs of the first block."""
    inputs = [Batch((tokens,), {}) for tokens in batches]
    device = torch.device("cpu")
    states = HiddenStates(inputs, Ranks(), *Capture(find_blocks(model), device).run(model, inputs, Ranks()))
    return [states.states(index) for index in range(len(batches))]


def captured_on_ranks() -> dict[str, list[Tensor]]:
    rank = dist.get_rank()
    return {
        kind: captured(wrapped(kind, "fsdp of the model"), token_batches(4)[rank : rank + 1])
        for kind in FAMILIES
    }


class FailingClient(LocalClient):
    """A client whose third layer on rank 1 fails."""

    def prune_layer(self, *args: Any, **options: Any) -> Any:
        if dist.get_rank() == 1 and len(self.hessians) == 2:
            raise PareError("not_positive_definite", 422, "the Hessian of order 32 is not positive definite")
        return super().prune_layer(*args, **options)


FAILURES = {
    "client": (
        PareError,
        r"layers\.\d\.\S+: could not be pruned on rank 1: PareError: not_positive_definite",
    ),
    "batch": (TypeError, "rank 1 of 2 failed: TypeError: batches: batch 1 must be a tensor"),
    "forward": (
        IndexError,
        r"rank 1 of 2 failed: IndexError: model\.embed_tokens\.weight: has 96 rows, got the token 10\d\d",
    ),
}
"""The error on rank 1, and the message of the RuntimeError on rank 0."""


def prune_with_failures() -> list[Exception]:
    """Return the errors that this rank raises if the other rank, or this rank, fails."""
    errors = []
    for failure in FAILURES:
        batches: Any = token_batches(2)
        if failure == "batch" and dist.get_rank() == 1:
            batches = iter([token_batches(1)[0], "text"])
        if failure == "forward" and dist.get_rank() == 1:
            batches = [token_batches(1)[0] + 1000]
        client = FailingClient() if failure == "client" else LocalClient()
        try:
            prune_(wrapped("llama", "fsdp"), batches, client, method="wanda", progress=False)
        except Exception as error:
            errors.append(error)
    return errors


def test_a_failure_on_one_rank_ends_all_ranks_at_once() -> None:
    on_first, on_second = run_on_ranks(prune_with_failures, 2)
    for (kind, message), first, second in zip(FAILURES.values(), on_first, on_second, strict=True):
        assert isinstance(second, kind)
        assert isinstance(first, RuntimeError)
        assert re.search(message, str(first)), str(first)


def disagree() -> list[str]:
    """Return the messages of runs that differ between the ranks. Nothing is pruned, and no rank waits."""
    second = dist.get_rank() == 1
    differences: list[tuple[Any, dict[str, Any]]] = [
        (tiny_model("opt"), {"sparsity": 0.6 if second else 0.5}),
        (tiny_model("opt"), {"layers": ["fc1"] if second else ["fc1", "fc2"]}),
        (tiny_model("opt", seed=int(second)), {}),
        (tiny_model("opt", num_hidden_layers=2 if second else 3), {}),
        (sharded(tiny_model("llama", num_hidden_layers=2 if second else 3)), {}),
        (tiny_model("opt"), {"sparsty": 0.5} if second else {}),
        (tiny_model("opt").double() if second else tiny_model("opt"), {}),
    ]
    messages = []
    for model, options in differences:
        client = LocalClient()
        with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
            prune_(model, token_batches(1), client, **{"method": "wanda", "progress": False, **options})
        assert not client.hessians
        messages.append(str(caught.value))
    return messages


def sharded(model: Any) -> Any:
    """Shard the blocks of a model."""
    for block in model.model.layers:
        fully_shard(block)
    return model


DISAGREEMENTS = [
    r"rank 1 of 2 .* than rank 0: sparsity is 0\.6 and on rank 0 0\.5$",
    r"the choice of layers is 3 layers with .* and on rank 0 6 layers with",
    r"embed_tokens\.weight is torch\.float32 \(96, 24\) with the checksum \w{8} and on rank 0 torch\.float32",
    r"the choice of layers is 12 layers .* and on rank 0 18 layers",
    r"the choice of layers is 14 layers .* and on rank 0 21 layers",
    r"has no parameter 'sparsty'; did you mean 'sparsity'\?",
    r"k_proj\.weight: is stored as torch\.float64",
]


def test_ranks_that_disagree_are_refused_by_name_before_any_forward_pass() -> None:
    for messages in run_on_ranks(disagree, 2):
        for message, expected in zip(messages, DISAGREEMENTS, strict=True):
            assert re.search(expected, message), message
            assert len(message) < 1000


def prune_with_a_callback_on_one_rank() -> list[str]:
    names: list[str] = []
    on_layer = (lambda layer: names.append(layer.name)) if dist.get_rank() == 1 else None
    prune_(
        tiny_model("opt"), token_batches(1), LocalClient(), method="wanda", layers="fc1", on_layer=on_layer
    )
    return names


def test_one_rank_may_have_a_callback() -> None:
    on_first, on_second = run_on_ranks(prune_with_a_callback_on_one_rank, 2)
    assert (on_first, len(on_second)) == ([], 3)


def notes_of_failure() -> str:
    """Return the error of a run whose third layer on rank 1 fails, as Python prints it."""
    try:
        prune_(tiny_model("opt"), token_batches(2), FailingClient(), method="wanda", progress=False)
    except Exception as error:
        return "".join(format_exception(error))
    return ""


def test_an_error_names_its_layer_and_the_pruned_layers_on_every_rank() -> None:
    for printed in run_on_ranks(notes_of_failure, 2):
        assert re.search(r"model\.decoder\.layers\.0\.\S+: could not be pruned", printed), printed
        assert re.search(
            r"prune_: [1-5] of 18 layers are already pruned in the model, 'model\.decoder\.", printed
        )
