"""Gives every layer its Hessian, and lets layers whose inputs are always the same share one.

A group consists of layers that have received exactly the same inputs so far. If the inputs differ later, for
example because a module is called twice, the group is split, and each part has its own exact sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.statistics.hessian import Hessian
from pare_llm.statistics.seen_input import SeenInput


class SharedHessians:
    """The Hessians of layers, which are computed once for each distinct sequence of inputs."""

    def __init__(self, create: Callable[[int, torch.device], Hessian]) -> None:
        """Begin without layers. `create` makes a Hessian for a number of inputs, on a device."""
        self.create = create
        self._groups: dict[LinearLayer, _Group] = {}
        # The groups with a single input so far. A layer whose first input is the same joins the group.
        self._by_first_input: dict[SeenInput, _Group] = {}

    def add(self, layer: LinearLayer, inputs: Tensor, real: Tensor | None) -> None:
        """Add an input (…, in) of a layer, except padding. May raise the RuntimeError of `settle`."""
        group = self._groups.get(layer)
        if group is None:
            self._add_first(layer, inputs, real)
            return
        pending = group.pending
        if pending and layer not in pending.layers and pending.seen == SeenInput(inputs):
            pending.layers.add(layer)
            if pending.layers == group.layers:
                group.pending = None
                group.hessian.add(inputs, real)
            return
        if pending:
            self._split(group, pending)
            group = self._groups[layer]
        if group.first_input is not None:
            self._by_first_input.pop(group.first_input, None)
            group.first_input = None
        if len(group.layers) == 1:
            group.hessian.add(inputs, real)
        else:
            group.pending = _Pending(SeenInput(inputs), inputs.detach(), real, {layer})

    def settle(self) -> None:
        """Finish the sums of a forward pass, and split the groups in which not all layers were called.

        Raises a RuntimeError if the model modified a pending input in place, so that it cannot be added.
        """
        self._by_first_input.clear()
        for group in set(self._groups.values()):
            if group.pending:
                self._split(group, group.pending)

    def hessian(self, layer: LinearLayer) -> Hessian | None:
        """Return the Hessian of a layer, or None if the layer was never called."""
        group = self._groups.get(layer)
        return group.hessian if group else None

    def assign(self, layers: set[LinearLayer], hessian: Hessian) -> None:
        group = _Group(hessian, layers)
        self._groups.update(dict.fromkeys(layers, group))

    def _add_first(self, layer: LinearLayer, inputs: Tensor, real: Tensor | None) -> None:
        first_input = SeenInput(inputs)
        group = self._by_first_input.get(first_input)
        if group is None:
            group = _Group(self.create(inputs.shape[-1], inputs.device), set(), first_input)
            group.hessian.add(inputs, real)
            self._by_first_input[first_input] = group
        group.layers.add(layer)
        self._groups[layer] = group

    def _split(self, group: "_Group", pending: "_Pending") -> None:
        """Give the layers that have received the pending input their own Hessian, and add the input to it."""
        if pending.seen != SeenInput(pending.inputs):
            raise RuntimeError(
                "layers with a shared Hessian received different inputs, and the first input was modified in "
                "place before it could be added. Record these layers in separate recorders"
            )
        group.pending = None
        group.layers -= pending.layers
        hessian = group.hessian.clone()
        hessian.add(pending.inputs, pending.real)
        self.assign(pending.layers, hessian)


@dataclass(eq=False)
class _Group:
    """Layers that have received the same inputs, and the sum over these inputs."""

    hessian: Hessian
    layers: set[LinearLayer]
    first_input: SeenInput | None = None
    """The only input of the group. None if the group has received more."""
    pending: "_Pending | None" = None


@dataclass
class _Pending:
    """An input that only some layers of a group have received so far. It is not yet in the sum."""

    seen: SeenInput
    inputs: Tensor
    real: Tensor | None
    layers: set[LinearLayer]
