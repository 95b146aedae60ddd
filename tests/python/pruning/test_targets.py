"""The targets of layers: what their outputs should be, so that the pruned model is like the dense one."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import Pare, PrunedLayer, prune_
from pruning_support import LocalClient, tiny_model, token_batches
from ranks import run_on_ranks
from test_block_loop import BLOCK_LISTS, padded_batch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard

# The layers that write into the residual stream, of the attention and of the network after it.
WRITERS = {
    "opt": ("self_attn.out_proj", "fc2"),
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "granite": ("self_attn.o_proj", "mlp.down_proj"),  # multiplies their outputs before it adds them
    "phi3": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "bloom": ("self_attention.dense", "mlp.dense_4h_to_h"),
    "gpt_neox": ("attention.dense", "mlp.dense_4h_to_h"),  # adds both outputs to each other first
    "gemma3_text": (),  # normalises the outputs before it adds them
}
MULTIPLIER = 0.5


def run(
    kind: str, batches: Any = None, *, is_sharded: bool = False, **options: Any
) -> tuple[Any, LocalClient, Any]:
    model, client = tiny_model(kind), LocalClient()
    if is_sharded:
        for block in model.model.decoder.layers:
            fully_shard(block)
        fully_shard(model)
    options = {"method": "wanda", "target": "dense", "progress": False, **options}
    return model, client, prune_(model, batches or token_batches(2), client, **options)


class Activations:
    """The inputs and outputs of a block and of its layers on all batches, in float64."""

    def __init__(self, model: Any, block: nn.Module, batches: list[Tensor]) -> None:
        modules = dict(block.named_modules())
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}
        hooks = [
            module.register_forward_hook(
                lambda _, args, kwargs, output, name=name: self._seen[name].append(
                    (args[0] if args else kwargs.get("hidden_states"), output)
                ),
                with_kwargs=True,
            )
            for name, module in modules.items()
        ]
        with torch.no_grad():
            for batch in batches:
                model(batch, use_cache=False)
        for hook in hooks:
            hook.remove()

    def inputs(self, name: str) -> Tensor:
        return torch.cat([x.double().flatten(0, -2) for x, _ in self._seen[name]])

    def outputs(self, name: str) -> Tensor:
        found = [output if isinstance(output, Tensor) else output[0] for _, output in self._seen[name]]
        return torch.cat([output.double().flatten(0, -2) for output in found])


def residual(kind: str, role: int, of: Activations) -> Tensor:
    """Return the residual stream before a layer of `WRITERS` writes into it, divided by the factor."""
    factor = MULTIPLIER if kind == "granite" else 1.0
    if role == 0:
        return of.inputs("") / factor
    return of.outputs("") / factor - of.outputs(WRITERS[kind][1])


def reference_target(kind: str, name: str, linear: Any, dense: Activations, pruned: Activations) -> Tensor:
    """Return T (out, in) of the layer `name` of a block."""
    weight = linear.weight.detach().double()
    weight = weight if isinstance(linear, nn.Linear) else weight.T  # Conv1D stores (in, out)
    outputs = dense.inputs(name) @ weight.T
    if name in WRITERS[kind]:
        role = WRITERS[kind].index(name)
        outputs += residual(kind, role, dense) - residual(kind, role, pruned)
    return outputs.T @ pruned.inputs(name)


@pytest.mark.parametrize("kind", WRITERS)
def test_targets_are_those_of_whole_forward_passes(kind: str) -> None:
    batches = token_batches(2)
    model, client, report = run(kind, batches, token_weights="none")
    dense, partial = tiny_model(kind), tiny_model(kind)  # the second one is pruned up to some block
    blocks = dense.get_submodule(BLOCK_LISTS.get(kind, "model.layers"))
    targets = iter(client.targets)
    for index, block in enumerate(blocks):
        place = f"{BLOCK_LISTS.get(kind, 'model.layers')}.{index}"
        own = partial.get_submodule(place)
        states = Activations(dense, block, batches), Activations(partial, own, batches)
        for name in [x.name.removeprefix(f"{place}.") for x in report.layers if x.block == index]:
            expected = reference_target(kind, name, block.get_submodule(name), *states)
            found = next(targets)
            assert found is not None
            deviation = (found.double() - expected).abs().max() / expected.abs().max()
            assert deviation < 1e-5, f"{place}.{name}: the target deviates by {deviation:.1e}"
        own.load_state_dict(model.get_submodule(place).state_dict())


@pytest.mark.parametrize("token_weights", ["none", "unit"])
def test_the_first_block_keeps_its_outputs(token_weights: Any) -> None:
    _, client, report = run("llama", token_weights=token_weights)
    dense = tiny_model("llama")
    for layer, hessian, target in zip(report.layers, client.hessians, client.targets, strict=True):
        assert target is not None
        expected = dense.get_parameter(layer.weight_name).detach() @ hessian
        is_kept = torch.allclose(target, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
        assert is_kept == (layer.block == 0), layer.name


@pytest.mark.parametrize("kind", ["llama", "opt"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_targets_of_a_padded_batch_are_those_of_its_sequences(kind: str, left: bool) -> None:
    sequences = [token_batches(1, rows=1, tokens=n, seed=n)[0][0] for n in (16, 9, 5)]
    _, single, _ = run(kind, [sequence[None] for sequence in sequences])
    _, padded, _ = run(kind, [padded_batch(sequences, left=left)])
    for one, both in zip(single.targets, padded.targets, strict=True):
        assert one is not None
        assert both is not None
        assert (one - both).abs().max() < 1e-4 * one.abs().max()


def test_held_out_windows_are_not_in_the_targets() -> None:
    batches = token_batches(5)
    _, with_held_out, _ = run("opt", batches[:3], validation=batches[3:])
    _, without, _ = run("opt", batches[:3])
    found = [target for target in with_held_out.targets if target is not None]
    for one, other in zip(found, without.targets, strict=True):
        assert other is not None
        assert torch.equal(one, other)


def test_held_out_windows_have_targets_of_their_own_which_choose_the_step() -> None:
    batches = token_batches(5)
    _, validated, _ = run("opt", batches[:3], validation=batches[3:])
    _, other, _ = run("opt", batches[3:], validation=0)
    given = [target for target in validated.validation_targets if target is not None]
    # The inputs of the first block do not depend on the fitted windows.
    for found, expected in zip(given[:6], other.targets[:6], strict=True):
        assert expected is not None
        assert torch.equal(found, expected)
    # Each layer is solved with its target and without.
    assert {query.get("target_step") for query in validated.queries} == {"auto", None}
    assert set(other.validation_targets) == {None}
    assert {query.get("target_step") for query in other.queries} == {None}
    _, stepped, _ = run("opt", batches[:3], validation=batches[3:], target_step=0.25)
    assert {query.get("target_step") for query in stepped.queries} == {0.25, None}


class MovingClient(LocalClient):
    """Returns the original weights of layers with targets, or zeros if their targets make them worse."""

    def __init__(self, *, is_better: bool) -> None:
        super().__init__()
        self._is_better = is_better

    def prune_layer(self, weight: Tensor, **request: Any) -> PrunedLayer[Tensor]:
        pruned = super().prune_layer(weight, **request)
        if request.get("target") is None:
            return pruned
        moved = weight.clone() if self._is_better else torch.zeros_like(weight)
        return replace(pruned, weight=moved, report={**pruned.report, "target_step": 0.5})


@pytest.mark.parametrize("is_better", [False, True])
def test_the_error_of_each_block_on_held_out_windows_decides_about_its_targets(
    is_better: bool, tmp_path: Path
) -> None:
    batches = token_batches(5)
    options: Any = {"method": "wanda", "target": "dense", "progress": False, "validation": batches[3:]}

    def prune(on_layer: Any = None, **journal: Any) -> tuple[dict[str, Tensor], Any, MovingClient]:
        model, client = tiny_model("opt"), MovingClient(is_better=is_better)
        report = prune_(model, batches[:3], client, on_layer=on_layer, **options, **journal)
        return model.state_dict(), report, client

    whole, report, _ = prune()
    assert [layer.report.get("target_step") for layer in report.layers] == [0.5 if is_better else None] * 18
    dense = tiny_model("opt").state_dict()
    assert all(torch.equal(weight, dense[name]) for name, weight in whole.items()) == is_better

    def stop(result: Any) -> None:
        if result.name.endswith("layers.1.self_attn.v_proj"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(stop, journal=tmp_path)
    continued, _, client = prune(journal=tmp_path)
    assert all(torch.equal(weight, whole[name]) for name, weight in continued.items())
    solves = [target is not None for target in client.targets]
    decided = len(solves) - 12  # the layers of the last block are solved with targets and without
    assert 0 < decided < 6
    assert set(solves[:decided]) == {is_better}


def targets_of_rank(is_sharded: bool) -> list[tuple[str, Tensor]]:
    batches = token_batches(5)[dist.get_rank() :: 2]
    _, client, report = run("opt", batches, is_sharded=is_sharded, layers=["fc1", "fc2"])
    assert len(report.layers) == 6
    return [(str(target.shape), target) for target in client.targets if target is not None]


@pytest.mark.parametrize("is_sharded", [False, True])
def test_targets_are_summed_over_the_ranks(is_sharded: bool) -> None:
    _, single, _ = run("opt", token_batches(5), layers=["fc1", "fc2"])
    ranks = run_on_ranks(targets_of_rank, 2, is_sharded)
    found = [each for rank in ranks for each in rank]
    assert len(found) == 6  # each rank sends the targets of the layers that it solves
    for target in (each for each in single.targets if each is not None):
        nearest = min(
            float((target - other).abs().max()) for shape, other in found if shape == str(target.shape)
        )
        assert nearest < 1e-4 * float(target.abs().max())


def test_the_host_moves_the_weights_towards_the_targets(host: HostProcess) -> None:
    for client in (Pare(host.url), [Pare(host.url)] * 2):
        model = tiny_model("opt")
        options: Any = {"method": "sparsegpt", "target": "dense", "target_step": 0.5, "progress": False}
        report = prune_(model, token_batches(6), client, **options)
        later = [layer.report["target_change"] for layer in report.layers if layer.block > 0]
        assert all((change["step"] or 0) < 0 for change in later)
        assert report.to_dict()["parameters"]["target"] == "dense"


class SlowTargets(LocalClient):
    """Solves two layers at a time. A weight must not change while its layer is solved."""

    def __len__(self) -> int:
        """Return the number of layers at a time."""
        return 2

    def prune_layer(self, weight: Tensor, **others: Any) -> PrunedLayer[Tensor]:
        """Wait if the layer has a target, and solve it."""
        given = weight.clone()
        if others.get("target") is not None:
            time.sleep(0.01 * len(self.targets))  # the last layer of a block takes the longest
        assert torch.equal(weight, given), "the weight has changed while its layer was solved"
        return super().prune_layer(weight, **others)


def test_no_weight_changes_while_a_layer_is_solved_with_its_target_and_without() -> None:
    client, options = SlowTargets(), {"method": "wanda", "target": "dense", "progress": False}
    report = prune_(tiny_model("opt"), token_batches(6), client, **options)
    assert len(client.targets) > len(report.layers)  # layers were solved twice


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("opt", {"target": "sparse"}, "target: must be dense or none, got 'sparse'"),
        ("opt", {"target": "none", "target_step": 0.3}, "target_step=0.3: needs target='dense', which gives"),
        ("opt", {"true_sequential": True}, "target='dense': does not work with true_sequential"),
        ("mixtral", {}, "target='dense': does not work with mixtures of experts, and .*experts.0.w1 is a"),
    ],
)
def test_options_that_do_not_work_with_targets_are_refused(kind: str, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(kind, **options)
