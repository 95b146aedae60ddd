"""A layer as it is sent to a server, and as the server returns it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, cast

from pare_llm.client.answers import Report
from pare_llm.client.layer_query import LayerQuery
from pare_llm.client.wire_tensor import Array, Tensor, require_tensor


class LayerTensors(TypedDict, total=False):
    """The tensors of a layer besides its weight, in the order in which they are sent."""

    hessian: Tensor | str | None
    hessian_upper: Tensor | None
    inputs: Tensor | None
    validation_hessian: Tensor | None
    validation_hessian_upper: Tensor | None
    mask: Tensor | None
    target: Tensor | None
    validation_target: Tensor | None


class LayerArguments(LayerTensors, LayerQuery, total=False):
    """The keyword arguments of `Pare.prune_layer`, which describes them."""


def split_arguments(arguments: LayerArguments) -> tuple[LayerTensors, LayerQuery]:
    """Return the tensors and the parameters among the keyword arguments of `Pare.prune_layer`."""
    given: dict[str, Any] = {**arguments}
    tensors = {name: given.pop(name) for name in LayerTensors.__annotations__ if name in given}
    return cast(LayerTensors, tensors), cast(LayerQuery, given)


@dataclass(frozen=True)
class LayerToUpload(Generic[Array]):
    """A layer whose tensors are in memory.

    Layers whose `hessian_upper` and validation statistics are the same objects share one blob, so that it is
    uploaded once and factored once.

    Attributes:
        name: name of the layer, unique in the job.
        weight: as in `Pare.prune_layer`, like the other tensors.
        parameters: the parameters of the layer.
    """

    name: str
    weight: Array
    hessian: Tensor | None = None
    hessian_upper: Tensor | None = None
    inputs: Tensor | None = None
    mask: Tensor | None = None
    parameters: LayerQuery = field(default_factory=LayerQuery)
    validation_hessian: Tensor | None = None
    validation_hessian_upper: Tensor | None = None
    target: Tensor | None = None
    validation_target: Tensor | None = None

    def __post_init__(self) -> None:
        require_tensor("weight", self.weight)

    def tensors(self) -> dict[str, Tensor | None]:
        """Return the tensors by their names in the HTTP contract."""
        return {name: getattr(self, name) for name in ("weight", *LayerTensors.__annotations__)}


@dataclass(frozen=True)
class QuantizedWeight(Generic[Array]):
    """The codes and the grids of a rounded weight: weight = (codes - zeros) · scales on the kept entries.

    Attributes:
        codes: (out, in) uint8.
        scales: (out, groups) float32, one grid per row and group of columns.
        zeros: (out, groups) float32, the code that stands for 0. It is a fraction if 0 is not in the grid.
    """

    codes: Array
    scales: Array
    zeros: Array


@dataclass(frozen=True)
class PrunedLayer(Generic[Array]):
    """A pruned layer with `out` output and `in` input features.

    The tensors are of the same library, and on the same device, as the weight that was sent.

    Attributes:
        weight: (out, in), in the dtype that the query asked for.
        mask: (out, in) bool, True where the weight was not pruned.
        quantized: the codes and the grids of the weight, if the query has `bits`.
        report: the report of the host.
    """

    weight: Array
    mask: Array
    quantized: QuantizedWeight[Array] | None
    report: Report
