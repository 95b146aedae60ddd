"""Calls a function with the inputs of linear layers whenever a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pare_llm.layers.experts import Routing, last_layer_inputs
from pare_llm.layers.linear_layer import LinearLayer, Role
from pare_llm.statistics.attention import RecordProjection, fast_path_disabled, recorded_attention


@dataclass(frozen=True)
class LayerInput:
    """The input of a layer in one call."""

    values: Tensor
    """(…, in)"""
    seq_first: bool = False
    """Whether the shape is (seq, batch, …) instead of (batch, seq, …)."""
    routed: tuple[Tensor, Tensor] | None = None
    """All tokens of the call, and the indices of the tokens in `values`. None if `values` has all tokens."""


RecordInput = Callable[[str, LinearLayer, LayerInput], None]
"""Called with the first name of a layer, the layer, and its input."""

_PartsOfModule = dict[nn.Module, dict[tuple[Role, int | None], LinearLayer]]


@contextmanager
def observed_inputs(layers: Mapping[str, LinearLayer], record: RecordInput) -> Iterator[None]:
    """Call `record` with the input of each layer that is called inside the `with`.

    A layer with several names is recorded under its first name.
    """
    names = {layer: name for name, layer in reversed(list(layers.items()))}
    parts: _PartsOfModule = {}
    for layer in names:
        parts.setdefault(layer.module, {})[layer.role, layer.expert] = layer

    def record_layer(layer: LinearLayer | None, values: LayerInput) -> None:
        if layer is not None:
            record(names[layer], layer, values)

    with ExitStack() as stack:
        # Even if no attention is recorded, the fast path of an encoder would bypass its linear layers.
        stack.enter_context(fast_path_disabled())
        for module, layers_of in parts.items():
            if isinstance(module, nn.MultiheadAttention):
                stack.enter_context(recorded_attention(module, _projection_recorder(layers_of, record_layer)))
                continue
            is_experts = next(iter(layers_of.values())).expert is not None
            hook = (_experts_hook if is_experts else _layer_hook)(layers_of, record_layer)
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        yield


_RecordLayer = Callable[[LinearLayer | None, LayerInput], None]
_Layers = Mapping[tuple[Role, int | None], LinearLayer]
_Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]


def _layer_hook(layers: _Layers, record: _RecordLayer) -> _Hook:
    (layer,) = layers.values()

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: object) -> None:
        record(layer, LayerInput(args[0] if args else next(iter(kwargs.values()))))

    return hook


def _experts_hook(layers: _Layers, record: _RecordLayer) -> _Hook:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: object) -> None:
        routing = Routing.of_call(module, args, kwargs)
        for expert in sorted({expert for _, expert in layers if expert is not None}):
            tokens = routing.tokens_of(expert)
            routed = (routing.states, tokens)
            inputs = routing.states[tokens]
            for role in ("gate_proj", "up_proj"):
                record(layers.get((role, expert)), LayerInput(inputs, routed=routed))
            if down := layers.get(("down_proj", expert)):
                record(down, LayerInput(last_layer_inputs(module, expert, inputs), routed=routed))

    return hook


def _projection_recorder(layers: _Layers, record: _RecordLayer) -> RecordProjection:
    def record_projection(role: Role, inputs: Tensor, seq_first: bool) -> None:
        record(layers.get((role, None)), LayerInput(inputs, seq_first))

    return record_projection
