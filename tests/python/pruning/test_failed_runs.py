"""A run that fails says which layers it has pruned, and the next run does not prune them again."""

import copy
from collections.abc import Callable
from traceback import format_exception
from typing import Any

import pytest
from pruning_support import StoppingClient, require_equal, run, tiny_model


def fail(model: Any) -> str:
    """Prune six layers, and return the error as Python prints it."""
    with pytest.raises(ConnectionError) as caught:
        run(model, StoppingClient(6))
    return "".join(format_exception(caught.value))


def test_the_error_names_the_layer_and_the_layers_that_are_pruned_already() -> None:
    printed = fail(tiny_model("opt"))
    assert "ConnectionError: the host is gone\n" in printed
    assert "model.decoder.layers.1.self_attn.k_proj: could not be pruned." in printed
    assert "prune_: 6 of 18 layers are already pruned in the model, 'model.decoder.layers.0." in printed
    assert "Load the model again before the next call." in printed


def test_an_interrupted_run_names_the_pruned_layers_too() -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(tiny_model("opt"), on_layer=interrupt)
    assert "prune_: 1 of 18 layers are already pruned" in "".join(format_exception(caught.value))


def test_the_same_call_again_is_refused_and_changes_nothing() -> None:
    model = tiny_model("opt")
    fail(model)
    before = copy.deepcopy(model)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^model: a failed call of prune_ has already pruned 6 of the 18 layers"
        ):
            run(model)
    require_equal(model, before)


def load_again(model: Any) -> dict[str, Any]:
    model.load_state_dict(tiny_model("opt").state_dict())
    return {}


def leave_out(_: Any) -> dict[str, Any]:
    return {"ignore": "*.0.*"}


@pytest.mark.parametrize(("change", "layers"), [(load_again, 18), (leave_out, 12)])
def test_a_model_that_was_loaded_again_and_other_layers_are_pruned(
    change: Callable[[Any], dict[str, Any]], layers: int
) -> None:
    model = tiny_model("opt")
    fail(model)
    assert len(run(model, **change(model)).layers) == layers
    run(model, ignore="*.0.*")  # a finished model may be pruned further
