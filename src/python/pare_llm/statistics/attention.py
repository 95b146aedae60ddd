"""Records the inputs of the projections inside `nn.MultiheadAttention`.

The projections are not modules that are called, so they have no forward hooks. The inputs of q_proj, k_proj
and v_proj are arguments of the attention. The input of out_proj exists only inside the function
`torch.nn.functional.multi_head_attention_forward`.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.backends import mha
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pare_llm.layers.linear_layer import Role

RecordProjection = Callable[[Role, Tensor, bool], None]
"""Called with the role of a projection, its input, and whether the input has the shape (seq, batch, …)."""


@contextmanager
def recorded_attention(attention: nn.MultiheadAttention, record: RecordProjection) -> Iterator[None]:
    """Call `record` with the input of each projection inside the `with`, which replaces `forward`."""
    forward: Callable[..., object] = attention.forward
    signature = inspect.signature(forward)
    replaced = attention.__dict__.get("forward")

    @wraps(forward)
    def recording_forward(*args: object, **kwargs: object) -> object:
        arguments = signature.bind(*args, **kwargs).arguments
        roles: tuple[tuple[Role, str], ...] = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"))
        for role, argument in roles:
            record(role, arguments[argument], not attention.batch_first)
        with _OutProjectionMode(lambda x: record("out_proj", x, True)):
            return forward(*args, **kwargs)

    attention.forward = recording_forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        if replaced is None:
            del attention.forward
        else:
            attention.forward = replaced  # type: ignore[method-assign]


@contextmanager
def fast_path_disabled() -> Iterator[None]:
    """Disable the fast path, which computes a module in one operation without hooks, inside the `with`."""
    enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(enabled)


class _OutProjectionMode(TorchFunctionMode):
    """Calls `record` with the input of the output projection in every call of the attention function."""

    def __init__(self, record: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._record = record

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__code__", None) is functional.multi_head_attention_forward.__code__:
            func = _observe_linear(func, self._record)
        return func(*args, **(kwargs or {}))


def _observe_linear(function: Any, record: Callable[[Tensor], None]) -> Callable[..., Any]:
    """Return a copy of the attention function that calls `record` with the input of its output projection.

    The function calls `linear` only for the output projection. The input projections are in functions that it
    calls. The copy has the same code but another global `linear`, so it computes the same values, and nothing
    changes for other threads. If other modes are active, such as a default device or a second recorder, the
    function passes itself to them by its global name. This name therefore means the copy, too.
    """
    linear = function.__globals__["linear"]

    def observed_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        output: Tensor = linear(x, weight, bias)
        record(x)
        return output

    names = {**function.__globals__, "linear": observed_linear}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    names[function.__name__] = copy
    return copy
