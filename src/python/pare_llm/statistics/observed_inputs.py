"""Calls a function with the inputs of linear layers whenever a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from pare_llm.statistics.attention import RecordProjection, fast_path_disabled, recorded_attention
from pare_llm.statistics.layers import LinearLayer, Role

RecordInput = Callable[[str, LinearLayer, Tensor, bool], None]
"""Called with a layer, its name before it, its input, and whether the input has the shape (seq, batch, …)."""


@contextmanager
def observed_inputs(layers: Mapping[str, LinearLayer], record: RecordInput) -> Iterator[None]:
    """Call `record` with the input of each layer that is called inside the `with`.

    A layer with several names is recorded under its first name.
    """
    names = {layer: name for name, layer in reversed(list(layers.items()))}
    attentions: dict[nn.MultiheadAttention, dict[Role, LinearLayer]] = {}
    with ExitStack() as stack:
        for layer, name in names.items():
            if isinstance(layer.module, nn.MultiheadAttention):
                attentions.setdefault(layer.module, {})[layer.role] = layer
            else:
                hook = layer.module.register_forward_hook(_layer_hook(name, layer, record), with_kwargs=True)
                stack.callback(hook.remove)
        # Even if no attention is recorded, the fast path of an encoder would bypass its linear layers.
        stack.enter_context(fast_path_disabled())
        for attention, roles in attentions.items():
            recording = _projection_recorder(roles, names, record)
            stack.enter_context(recorded_attention(attention, recording))
        yield


def _layer_hook(name: str, layer: LinearLayer, record: RecordInput) -> Callable[..., None]:
    def hook(
        _module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], _output: object
    ) -> None:
        record(name, layer, args[0] if args else next(iter(kwargs.values())), False)

    return hook


def _projection_recorder(
    layers: Mapping[Role, LinearLayer], names: Mapping[LinearLayer, str], record: RecordInput
) -> RecordProjection:
    def record_projection(role: Role, inputs: Tensor, seq_first: bool) -> None:
        layer = layers.get(role)
        if layer is not None:
            record(names[layer], layer, inputs, seq_first)

    return record_projection
