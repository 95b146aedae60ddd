"""Layers share a Hessian as long as they receive the same inputs, and only then."""

import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from pare_llm import Hessian, HessianRecorder
from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.statistics.shared_hessians import SharedHessians
from statistics_support import (
    TOLERANCE,
    AllocationPeak,
    captured_inputs,
    largest_deviation,
    reference_hessian,
)
from torch import Tensor, nn

MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]


class Program(nn.Module):
    """Runs any program on three layers a, b and c with four inputs each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, run: Callable[["Program", Tensor], object], x: Tensor) -> None:
        """Run the program."""
        run(self, x)


def record(*programs: Callable[[Program, Tensor], object], mode: type = torch.no_grad) -> dict[str, Hessian]:
    """Run each program in a call of its own, and compare all Hessians with the inputs of the layers."""
    torch.manual_seed(0)
    model = Program()
    modules = {"a": model.a, "b": model.b, "c": model.c}
    with mode(), captured_inputs(modules) as inputs, HessianRecorder(model) as recorder:
        for program in programs:
            model(program, torch.randn(2, 3, 4))
    for name, hessian in recorder.hessians.items():
        assert hessian.tokens == sum(x.shape[:-1].numel() for x in inputs[name])
        assert largest_deviation(hessian.matrix, reference_hessian(inputs[name])) < TOLERANCE
    return recorder.hessians


def each_once(model: Program, x: Tensor) -> None:
    """Call all layers with the same tensor."""
    model.a(x)
    model.b(x)
    model.c(x)


@pytest.mark.parametrize("mode", MODES)
def test_layers_with_the_same_input_share_a_hessian(mode: type) -> None:
    hessians = record(each_once, each_once, mode=mode)
    assert hessians["a"] is hessians["b"] is hessians["c"]


def test_a_shared_hessian_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    add = Hessian.add
    monkeypatch.setattr(Hessian, "add", lambda self, *args: (added.append(1), add(self, *args)))
    record(each_once, each_once, each_once)
    assert len(added) == 3


@pytest.mark.parametrize("mode", MODES)
def test_views_of_the_same_memory_are_the_same_input(mode: type) -> None:
    def run(model: Program, x: Tensor) -> None:
        model.a(x.view(6, 4))
        model.b(x.view(6, 4).detach())
        model.c(x)  # has another shape

    hessians = record(run, mode=mode)
    assert hessians["a"] is hessians["b"] is not hessians["c"]


@pytest.mark.parametrize("mode", MODES)
def test_other_views_of_the_same_memory_are_other_inputs(mode: type) -> None:
    def run(model: Program, x: Tensor) -> None:
        both = torch.cat([x, x + 1])
        model.a(both[:2])
        model.b(both[2:])
        model.c(both[:2].transpose(0, 1))

    assert len({id(hessian) for hessian in record(run, mode=mode).values()}) == 3


@pytest.mark.parametrize("mode", MODES)
def test_an_input_that_was_modified_in_place_is_another_input(mode: type) -> None:
    def run(model: Program, x: Tensor) -> None:
        model.a(x)
        with torch.no_grad():
            x.relu_()
        model.b(x)

    hessians = record(run, mode=torch.no_grad if mode is torch.enable_grad else mode)
    assert hessians["a"] is not hessians["b"]


@pytest.mark.parametrize("mode", MODES)
def test_memory_that_is_used_again_is_another_input(mode: type) -> None:
    """The inputs are freed at once, so the allocator gives out the same addresses again."""
    addresses = []

    def fresh(x: Tensor) -> Tensor:
        y = x * torch.rand(4)
        addresses.append(y.data_ptr())
        return y

    def run(model: Program, x: Tensor) -> None:
        x = x.detach()
        with torch.no_grad():
            for _ in range(20):
                model.a(fresh(x))
                model.b(fresh(x))

    hessians = record(run, run, mode=mode)
    assert len(set(addresses)) < len(addresses)
    assert hessians["a"] is not hessians["b"]


def test_a_module_that_is_called_twice_shares_only_the_same_sequence_of_inputs() -> None:
    def alternating(model: Program, x: Tensor) -> None:
        for y in (x, x + 1):
            model.a(y)
            model.b(y)
        model.c(x)

    hessians = record(alternating, alternating)
    assert hessians["a"] is hessians["b"] is not hessians["c"]


def first_only(model: Program, x: Tensor) -> None:
    """Call one of three layers."""
    model.a(x)


def first_two(model: Program, x: Tensor) -> None:
    """Call two of three layers."""
    model.b(x)
    model.a(x)


def different_inputs(model: Program, x: Tensor) -> None:
    """Call each layer with its own tensor."""
    model.a(x)
    model.b(x * 2)
    model.c(x * 3)


def first_twice(model: Program, x: Tensor) -> None:
    """Call one layer twice before the others."""
    model.a(x)
    model.a(x * 2)
    model.b(x)
    model.c(x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("program", "groups"),
    [(first_only, 2), (first_two, 2), (different_inputs, 3), (first_twice, 2)],
)
def test_a_group_is_split_exactly_when_its_inputs_differ(
    program: Callable[[Program, Tensor], None], groups: int, mode: type
) -> None:
    """`record` compares every sum with float64."""
    for programs in ((each_once, program, each_once), (each_once, program, program), (program, each_once)):
        hessians = record(*programs, mode=mode)
        assert len(hessians) == 3
        if programs[0] is each_once:
            assert len({id(hessian) for hessian in hessians.values()}) == groups


def test_no_input_is_kept_after_the_call_of_the_model() -> None:
    """The group of a, b and c waits for b and c until the call ends."""
    model = Program()
    with HessianRecorder(model) as recorder:
        model(each_once, torch.randn(3, 4))
        x = torch.randn(3, 4)
        model(first_only, x)
        reference = weakref.ref(x.untyped_storage())
        del x
        assert reference() is None
    assert recorder.hessians["a"].tokens == 6


def test_a_split_after_an_error_inside_the_model_is_exact() -> None:
    torch.manual_seed(0)
    model = Program()
    x, y = torch.randn(3, 4), torch.randn(2, 4)

    def failing(model: Program, x: Tensor) -> None:
        model.a(x)
        raise ZeroDivisionError

    with HessianRecorder(model) as recorder:
        model(each_once, x)
        with pytest.raises(ZeroDivisionError):
            model(failing, y)
    assert largest_deviation(recorder.hessians["a"].matrix, reference_hessian([x, y])) < TOLERANCE
    assert largest_deviation(recorder.hessians["b"].matrix, reference_hessian([x])) < TOLERANCE


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_refuses_an_input_that_was_overwritten_before_it_could_be_added(mode: type) -> None:
    def overwriting(model: Program, x: Tensor) -> None:
        model.a(x)
        x.zero_()

    with pytest.raises(RuntimeError, match="modified in place before it could be added"):
        record(each_once, overwriting, mode=mode)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_recognising_inputs_allocates_no_more_than_one_chunk(mode: type) -> None:
    """The count contains everything that recording three layers allocates beyond their Hessian."""
    chunk, features = 512, 24
    x = torch.randn(4, 1000, features, dtype=torch.bfloat16)
    layers = [LinearLayer(nn.Linear(features, 2), "linear") for _ in range(3)]
    with mode():
        x = x.clone()
        shared = SharedHessians(partial(Hessian, chunk_tokens=chunk, token_weights="none"))
        for layer in layers:
            shared.add(layer, x, None)
        with AllocationPeak() as peak:
            for layer in layers:
                shared.add(layer, x, None)
    hessian = shared.hessian(layers[0])
    assert hessian is not None
    assert hessian.tokens == 8000
    assert 4 * chunk * features <= peak.bytes < 4 * (chunk + 32) * features
