"""A run that fails says which layers it has pruned, and the next run does not prune them again."""

from collections.abc import Callable
from traceback import format_exception
from typing import Any

import pytest
import torch
from pare_llm import prune_
from pruning_support import LocalClient, tiny_model, token_batches


class StoppingClient(LocalClient):
    """A client whose seventh layer fails with `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def prune_layer(self, *args: Any, **options: Any) -> Any:
        if len(self.hessians) == 6:
            raise self.error
        return super().prune_layer(*args, **options)


def run(model: Any, client: Any, **options: Any) -> Any:
    return prune_(model, token_batches(1), client, **{"method": "wanda", "progress": False, **options})


def fail(model: Any, error: BaseException | None = None) -> str:
    """Prune six layers, and return the error as Python prints it."""
    with pytest.raises((ConnectionError, KeyboardInterrupt)) as caught:
        run(model, StoppingClient(error or ConnectionError("the host is gone")))
    return "".join(format_exception(caught.value))


def test_the_error_names_the_layer_and_the_layers_that_are_pruned_already() -> None:
    printed = fail(tiny_model("opt"))
    assert "ConnectionError: the host is gone\n" in printed
    assert "model.decoder.layers.1.self_attn.k_proj: could not be pruned." in printed
    assert "prune_: 6 of 18 layers are already pruned in the model, 'model.decoder.layers.0." in printed
    assert "Load the model again before the next call." in printed


def test_an_interrupted_run_names_the_pruned_layers_too() -> None:
    model, interrupted = tiny_model("opt"), LocalClient()

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(model, interrupted, on_layer=interrupt)
    assert "prune_: 1 of 18 layers are already pruned" in "".join(format_exception(caught.value))


def test_the_same_call_again_is_refused_and_changes_nothing() -> None:
    model = tiny_model("opt")
    fail(model)
    before = [values.clone() for values in model.parameters()]
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^model: a failed call of prune_ has already pruned 6 of the 18 layers"
        ):
            run(model, LocalClient())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


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
    assert len(run(model, LocalClient(), **change(model)).layers) == layers


def test_a_finished_model_may_be_pruned_further() -> None:
    model = tiny_model("opt")
    run(model, LocalClient())
    assert len(run(model, LocalClient()).layers) == 18
