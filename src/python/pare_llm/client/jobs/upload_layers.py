"""Uploads the tensors of layers to an edge, so that a job can name them by their digests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, cast

from pare_llm.client.jobs.messages import JobLayerRequest
from pare_llm.client.jobs.uploads import Uploads
from pare_llm.client.layer_file import encode_parts
from pare_llm.client.layer_query import LayerQuery
from pare_llm.client.wire_tensor import Array, Tensor


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

    def tensors(self) -> dict[str, Tensor | None]:
        """Return the tensors by their names in the HTTP contract."""
        return {
            "weight": self.weight,
            "hessian": self.hessian,
            "hessian_upper": self.hessian_upper,
            "inputs": self.inputs,
            "validation_hessian": self.validation_hessian,
            "validation_hessian_upper": self.validation_hessian_upper,
            "mask": self.mask,
            "target": self.target,
            "validation_target": self.validation_target,
        }


_SHARED = ["hessian_upper", "validation_hessian", "validation_hessian_upper"]
"""The tensors of the blob that layers with the same statistics share."""


def upload_layers(uploads: Uploads, layers: Iterable[LayerToUpload[Array]]) -> list[JobLayerRequest]:
    """Upload the blobs of `layers` one by one, as `Uploads.upload_blob`, and return the layers for a job."""
    # The statistics are identified by the objects, so the objects must live as long as their ids are used.
    digests: dict[tuple[int, ...], str] = {}
    layers = list(layers)
    requests: list[JobLayerRequest] = []
    for layer in layers:
        tensors = layer.tensors()
        names = _SHARED if layer.hessian_upper is not None else []
        statistics = {name: tensors.pop(name) for name in names}
        request: JobLayerRequest = {
            "name": layer.name,
            "weight": uploads.upload_blob(encode_parts(tensors)),
            "parameters": cast(LayerQuery, {k: v for k, v in layer.parameters.items() if v is not None}),
        }
        if layer.hessian_upper is not None:
            key = tuple(id(tensor) for tensor in statistics.values())
            if key not in digests:
                digests[key] = uploads.upload_blob(encode_parts(statistics))
            request["hessian"] = digests[key]
        requests.append(request)
    return requests
