"""Finds the residual streams to which the outputs of linear layers are added, while a block runs.

Blocks of different models add in different ways, so the additions themselves are observed. The output of a
layer is followed through views, conversions, and products with a number s. If a tensor of the same shape is
added to it, and nothing else is done with it, this tensor is the residual stream r, and the layer writes
s·output into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pare_llm.layers.linear_layer import LinearLayer

_aten: Any = torch.ops.aten
_COPIES = {_aten.view, _aten._unsafe_view, _aten.alias, _aten.detach, _aten.clone, _aten._to_copy}
_PRODUCTS = {_aten.mul, _aten.mul_}
_SUMS = {_aten.add, _aten.add_}


@dataclass(frozen=True)
class _Output:
    """The output of a layer, times a factor."""

    call: int
    """The position of the call of the layer among all calls."""
    name: str
    values: Tensor
    factor: float = 1.0


class _Additions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Observes all operations on tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.streams: dict[str, Tensor] = {}
        self.used_otherwise: set[str] = set()
        """The names of the layers whose outputs are operands of something else than an addition."""
        # The tensors that are sums of outputs, by their ids. They are kept alive, so that no id is reused.
        self._followed: dict[int, tuple[Tensor, list[_Output]]] = {}
        self._calls = 0

    def follow(self, name: str, values: Any) -> None:
        if isinstance(values, Tensor):
            self._followed[id(values)] = values, [_Output(self._calls, name, values)]
            self._calls += 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = self._outputs_of_result(func.overloadpacket, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if outputs:
            self._followed[id(result)] = result, outputs
        else:  # the operation may be in place
            self._followed.pop(id(result), None)
        return result

    def _outputs_of_result(self, operation: Any, args: tuple[Any, ...], kwargs: Any) -> list[_Output]:
        """Return the outputs whose sum the result will be, and note the stream if the sum gets one."""
        used = [each for value in tree_leaves((args, kwargs)) for each in self._outputs_of(value)]
        if not used or operation in _COPIES:
            return used
        first, second = (self._outputs_of(value) for value in (*args, None)[:2])
        if operation in _PRODUCTS and isinstance(args[1], (int, float)) and args[1] != 0:
            return [replace(each, factor=each.factor * args[1]) for each in first]
        if operation not in _SUMS or kwargs.get("alpha", 1) != 1:
            self.used_otherwise |= {each.name for each in used}
        elif first and second:
            return sorted(used, key=lambda each: each.call)
        else:
            self._note_stream(used, args[1] if first else args[0])
        return []

    def _outputs_of(self, value: object) -> list[_Output]:
        return self._followed[id(value)][1] if id(value) in self._followed else []

    def _note_stream(self, outputs: list[_Output], stream: Any) -> None:
        """Note the stream of each of `outputs`, which are all written after the outputs of earlier calls."""
        for each in outputs:
            if not isinstance(stream, Tensor) or stream.shape[-1:] != each.values.shape[-1:]:
                return
            if stream.numel() != each.values.numel():
                return
            # A copy, because the addition may be in place.
            self.streams[each.name] = stream.to(torch.float32, copy=True).div_(each.factor)
            stream = stream + each.factor * each.values.view_as(stream)


@contextmanager
def residual_streams(layers: Mapping[str, LinearLayer]) -> Iterator[dict[str, Tensor]]:
    """Collect r/s of each layer that writes into a residual stream, before it writes, inside the `with`.

    The tensors are float32 with the elements of the layer's outputs in the same order. Projections inside of
    `nn.MultiheadAttention` are not found, because no module returns their outputs.
    """
    additions = _Additions()
    with ExitStack() as stack:
        for name, layer in layers.items():
            if layer.role not in ("linear", "conv1d"):
                continue

            def follow(_module: nn.Module, _args: object, output: object, name: str = name) -> None:
                additions.follow(name, output)

            stack.callback(layer.module.register_forward_hook(follow).remove)
        with additions:
            yield additions.streams
    for name in additions.used_otherwise:
        additions.streams.pop(name, None)
