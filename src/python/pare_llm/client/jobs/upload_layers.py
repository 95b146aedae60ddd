"""Uploads the tensors of layers to an edge, so that a job can name them by their digests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from pare_llm.client.jobs.messages import JobLayerRequest
from pare_llm.client.jobs.uploads import Uploads
from pare_llm.client.layer import LayerToUpload
from pare_llm.client.layer_file import encode_parts
from pare_llm.client.layer_query import LayerQuery
from pare_llm.client.wire_tensor import Array

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
