"""`HessianRecorder` records while its `with` block is active, and leaves the model as it was."""

import weakref
from typing import Any

import pytest
import torch
from conftest import HostProcess
from pare_llm import HessianRecorder, Pare
from statistics_support import TOLERANCE, captured_inputs, largest_deviation, reference_hessian
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Mlp(nn.Module):
    """Two layers, of which the first is optionally run with activation checkpointing."""

    def __init__(self, checkpointing: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.up = nn.Linear(6, 9)
        self.down = nn.Linear(9, 6)
        self.unused = nn.Linear(6, 6)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor) -> Tensor:
        """Compute x + down(relu(up(x)))."""
        if self.checkpointing is None:
            return x + self.block(x)
        return x + checkpoint(self.block, x, **self.checkpointing)

    def block(self, x: Tensor) -> Tensor:
        """Compute down(relu(up(x)))."""
        return self.down(torch.relu(self.up(x)))


def hook_count(model: nn.Module) -> int:
    """Return how many forward hooks the modules of a model have."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_records_the_layers_that_are_called() -> None:
    torch.manual_seed(0)
    model = Mlp()
    batches = [torch.randn(4, 3, 6), torch.randn(1, 7, 6)]
    with HessianRecorder(model) as recorder, captured_inputs({"up": model.up, "down": model.down}) as inputs:
        for x in batches:
            model(x)
    model(batches[0])
    assert list(recorder.hessians) == ["up", "down"]
    for name, hessian in recorder.hessians.items():
        assert hessian.tokens == 19
        assert largest_deviation(hessian.matrix, reference_hessian(inputs[name])) < TOLERANCE


def test_adds_held_out_batches_to_validation_hessians_only() -> None:
    torch.manual_seed(0)
    model = Mlp()
    batches = [torch.randn(4, 3, 6), torch.randn(1, 7, 6), torch.randn(2, 6)]
    with HessianRecorder(model) as recorder, captured_inputs({"up": model.up, "down": model.down}) as inputs:
        for index, x in enumerate(batches):
            recorder.validating = index == 1
            model(x)
    assert not recorder.validating
    for name, fitted in recorder.hessians.items():
        held_out = recorder.validation_hessians[name]
        assert (fitted.tokens, held_out.tokens) == (14, 7)
        first, second, third = (each.reshape(-1, each.shape[-1]) for each in inputs[name])
        assert largest_deviation(fitted.matrix, reference_hessian([first, third])) < TOLERANCE
        assert largest_deviation(held_out.matrix, reference_hessian([second])) < TOLERANCE


def test_names_the_layers_that_were_never_called() -> None:
    model = Mlp()
    with HessianRecorder(model) as recorder:
        model(torch.randn(2, 6))
    assert recorder.never_called == ["unused"]
    message = "layer 'unused' was never called while .* the layers that were never called are 'unused'"
    with pytest.raises(KeyError, match=message):
        recorder.hessians["unused"]
    with pytest.raises(KeyError, match="layer 'upp' is not recorded; the recorded layers are 'up', 'down'"):
        recorder.hessians["upp"]


def test_records_only_the_chosen_layers() -> None:
    model = Mlp()
    with HessianRecorder(model, layers=["down"]) as recorder:
        assert hook_count(model) == 3  # two for the calls of the model
        model(torch.randn(2, 6))
    assert list(recorder.hessians) == ["down"]
    assert list(recorder.layers) == ["down"]
    assert recorder.layers["down"].weight is model.down.weight


def test_removes_its_hooks_after_an_error_in_the_with_block() -> None:
    model = Mlp()
    recorder = HessianRecorder(model)
    x = torch.randn(5, 6)

    def run_and_fail() -> None:
        with recorder:
            model(x)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_and_fail()
    assert hook_count(model) == 0
    assert recorder.hessians["up"].tokens == 5
    with recorder:
        model(x)
    assert recorder.hessians["up"].tokens == 10


def test_survives_an_error_inside_the_model() -> None:
    model = Mlp()
    with HessianRecorder(model) as recorder:
        with pytest.raises(RuntimeError):
            model(torch.randn(2, 7))
        model(torch.randn(2, 6))
    assert recorder.hessians["down"].tokens == 2


def test_refuses_to_be_entered_twice() -> None:
    with HessianRecorder(Mlp()) as recorder, pytest.raises(RuntimeError, match="is recording already"):
        recorder.__enter__()


def test_counts_every_call_of_a_module_that_is_called_twice() -> None:
    torch.manual_seed(1)
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    with HessianRecorder(model) as recorder, captured_inputs({"0": shared}) as inputs:
        model(torch.randn(3, 4))
        model(torch.randn(2, 4))
    assert recorder.hessians["0"] is recorder.hessians["2"]
    assert recorder.hessians["0"].tokens == 10
    assert largest_deviation(recorder.hessians["0"].matrix, reference_hessian(inputs["0"])) < TOLERANCE


@pytest.mark.parametrize(
    "dtypes",
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float32, torch.bfloat16)],
    ids=["float32", "float64", "bfloat16 autocast"],
)
def test_training_goes_on_as_before(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    """Outputs and gradients are the same, and no activation stays alive because of the recorder."""
    torch.manual_seed(2)
    dtype, compute = dtypes
    model = Mlp().to(dtype)
    x = torch.randn(8, 6, dtype=dtype)
    results = []
    inputs: list[weakref.ref[Tensor]] = []
    hook = model.down.register_forward_pre_hook(lambda _module, args: inputs.append(weakref.ref(args[0])))
    with HessianRecorder(model) as recorder:
        for is_recorded in (True, False):
            if not is_recorded:
                recorder.__exit__(None, None, None)
            model.zero_grad()
            with torch.autocast("cpu", dtype=compute, enabled=compute != dtype):
                outputs = model(x)
            outputs.square().sum().backward()
            grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            results.append([outputs.detach(), *grads])
            del outputs
    hook.remove()
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert [reference() for reference in inputs] == [None, None]
    assert recorder.hessians["up"].matrix.dtype == torch.float32
    assert not recorder.hessians["up"].matrix.requires_grad
    assert largest_deviation(recorder.hessians["up"].matrix, reference_hessian([x])) < TOLERANCE


@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_counts_checkpointed_activations_once(use_reentrant: bool, preserve: bool) -> None:
    """The backward pass runs the forward pass of a checkpoint again."""
    model = Mlp({"use_reentrant": use_reentrant, "preserve_rng_state": preserve})
    x = torch.randn(7, 6, requires_grad=True)
    calls = []
    hook = model.up.register_forward_hook(lambda *_: calls.append(1))
    with HessianRecorder(model) as recorder:
        for _ in range(2):
            model(x).square().sum().backward()
    hook.remove()
    assert len(calls) == 4
    assert recorder.hessians["up"].tokens == recorder.hessians["down"].tokens == 14
    assert largest_deviation(recorder.hessians["up"].matrix, reference_hessian([x, x])) < TOLERANCE


def test_counts_a_checkpoint_that_contains_the_whole_model_once() -> None:
    model = Mlp()
    x = torch.randn(7, 6, requires_grad=True)
    with HessianRecorder(model) as recorder:
        checkpoint(model, x, use_reentrant=True).sum().backward()
        model(x)
    assert recorder.hessians["up"].tokens == 14


@pytest.mark.parametrize("in_place", [True, False], ids=["model.compile()", "torch.compile(model)"])
def test_runs_a_compiled_model_uncompiled(in_place: bool) -> None:
    """Compiled code calls no hooks that were registered after it was compiled."""
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    model = Mlp()
    x = torch.randn(3, 6)
    if in_place:
        model.compile(backend=backend)
    compiled = model if in_place else torch.compile(model, backend=backend)
    compiled(x)
    assert len(graphs) == 1
    with HessianRecorder(compiled) as recorder:
        compiled(x)
    compiled(x)
    assert len(graphs) == 1
    assert list(recorder.hessians) == ["up", "down"]
    assert recorder.hessians["down"].tokens == 3


def test_takes_the_input_of_a_layer_from_a_keyword_argument() -> None:
    layer = nn.Linear(3, 2)
    with HessianRecorder(layer) as recorder:
        layer(input=torch.randn(4, 3))
    assert recorder.hessians[""].tokens == 4


def test_refuses_inputs_that_are_not_floating_point() -> None:
    class IntegerLinear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    layer = IntegerLinear(3, 2)
    with HessianRecorder(layer), pytest.raises(TypeError, match=r"its input is a Tensor of torch\.int64"):
        layer(torch.ones(4, 3, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_host_prunes_the_same_with_recorded_statistics_as_with_the_inputs(
    host: HostProcess, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 32).to(dtype)
    mixing = torch.randn(48, 48) * torch.logspace(0, -2, 48)
    x = (torch.randn(4, 40, 48) @ mixing).to(dtype)
    mask = torch.ones(4, 40)
    mask[1, 25:] = 0
    with HessianRecorder(layer) as recorder:
        recorder.attention_mask = mask
        layer(x)
    hessian = recorder.hessians[""]
    pare = Pare(host.url)
    weight = layer.weight.detach()
    expected = pare.prune_layer(weight, inputs=x[mask.bool()], token_weights="unit")
    packed = pare.prune_layer(weight, hessian_upper=hessian.upper())
    whole = pare.prune_layer(weight, hessian=hessian.matrix)
    assert torch.equal(packed.weight, whole.weight)
    assert torch.equal(packed.mask, expected.mask)
    assert packed.report["loss"] == pytest.approx(expected.report["loss"], rel=1e-4)
    assert torch.allclose(packed.weight.float(), expected.weight.float(), rtol=0.02, atol=1e-3)
