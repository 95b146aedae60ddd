"""Uploads layers, prunes them by one job at an edge, and downloads each result when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from pare_llm.arguments import require
from pare_llm.client.answers import printable
from pare_llm.client.errors import STATUSES, PareError, error_class
from pare_llm.client.jobs.jobs import DEFAULT_POLL_MS, Jobs
from pare_llm.client.jobs.messages import JobLayerRequest
from pare_llm.client.jobs.uploads import Uploads
from pare_llm.client.layer import LayerToUpload, PrunedLayer
from pare_llm.client.layer_file import encode_parts
from pare_llm.client.layer_query import LayerQuery
from pare_llm.client.tensor_library import library_of
from pare_llm.client.transport import Transport, TransportOptions
from pare_llm.client.wire_tensor import Array

_MAX_SHOWN_FAILURES = 20


class LayerFailure(NamedTuple):
    """A layer of a job that failed, with the code and the detail of its error."""

    name: str
    code: str
    detail: str


# The error codes of layers that may succeed in another job. Somebody ended the job of a `cancelled` layer.
_TRANSIENT_LAYER_CODES = frozenset({"no_device", "device_lost", "shutting_down", "busy"})


class JobFailedError(Exception):
    """Some layers of a job failed. The results of its other layers are not affected.

    Attributes:
        job: the id of the job.
        failures: the failed layers.
    """

    def __init__(self, job: str, failures: Sequence[LayerFailure]) -> None:
        super().__init__(job, failures)
        self.job = job
        self.failures = tuple(failures)

    def __str__(self) -> str:
        shown = [": ".join(failure) for failure in self.failures[:_MAX_SHOWN_FAILURES]]
        more = len(self.failures) - len(shown)
        return f"job {self.job}: " + "; ".join([*shown, *([f"and {more} more layers"] if more else [])])

    @property
    def is_transient(self) -> bool:
        """Whether all failed layers may succeed in another job."""
        return all(failure.code in _TRANSIENT_LAYER_CODES for failure in self.failures)


def prune_by_job(
    edge: TransportOptions | Transport,
    layers: Sequence[LayerToUpload[Array]],
    *,
    idempotency_key: str | None = None,
    name: str | None = None,
    poll_ms: float = DEFAULT_POLL_MS,
) -> Iterator[tuple[str, PrunedLayer[Array]]]:
    """Prune `layers` at an edge and yield the name and the result of each, in the order in which they are
    done.

    Args:
        edge: how to reach the edge, or the open connections to it.
        layers: the layers.
        idempotency_key: as in `Jobs.submit`.
        name: as in `Jobs.submit`.
        poll_ms: as in `Jobs.follow`.

    Raises:
        JobFailedError: when the job has ended, if any layer failed.
        PareError, ConnectionError: as `Uploads.upload_blob` and the methods of `Jobs`.
    """
    require("layers", layers, Sequence, "a list of LayerToUpload")
    for index, layer in enumerate(layers):
        require(f"layers[{index}]", layer, LayerToUpload, "a LayerToUpload")
    transport = edge if isinstance(edge, Transport) else Transport(edge)
    jobs = Jobs._over(transport)
    requests = _upload_layers(Uploads._over(transport), layers)
    job = jobs.submit(requests, idempotency_key=idempotency_key, name=name)
    asked = {layer.name: layer for layer in layers}
    failures: list[LayerFailure] = []
    for state in jobs.follow(job["id"], poll_ms=poll_ms):
        layer_name, error = state["name"], state["error"]
        if layer_name not in asked:
            raise ValueError(
                f'job {job["id"]}: has the layer "{printable(layer_name)}", which was not submitted'
            )
        if error is not None:
            failures.append(LayerFailure(layer_name, printable(error["code"]), printable(error["detail"])))
        else:
            weight = asked[layer_name].weight
            yield layer_name, jobs._result_in(library_of(weight), state, asked[layer_name])
    if failures:
        raise JobFailedError(job["id"], failures)


# The tensors of the blob that layers with the same statistics share.
_SHARED = ["hessian_upper", "validation_hessian", "validation_hessian_upper"]


def _upload_layers(uploads: Uploads, layers: Sequence[LayerToUpload[Array]]) -> list[JobLayerRequest]:
    """Upload the blobs of `layers` one by one, as `Uploads.upload_blob`, and return the layers for a job."""
    # The statistics are identified by the objects, so the objects must live as long as their ids are used.
    digests: dict[tuple[int, ...], str] = {}
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


def is_over_edge_body_limit(error: PareError) -> bool:
    """Whether a request exceeded the body limit of an edge, so that its tensors can be uploaded instead.

    The error of an edge has the URL of its uploads. A proxy in front of the edge sends no problem+json.
    """
    return error.status == 413 and (error.uploads is not None or error.code == "unknown")


def prune_large_layer(transport: Transport, layer: LayerToUpload[Array]) -> PrunedLayer[Array]:
    """Prune one layer by a job. Raise a PareError with the job's error if it fails, or as `prune_by_job`."""
    try:
        for _, pruned in prune_by_job(transport, [layer]):
            return pruned
    except JobFailedError as error:
        failure = error.failures[0]
        # A job also has codes that are not problems of the HTTP contract, such as `cancelled`.
        status = STATUSES.get(failure.code, 500)
        raise error_class(failure.code)(failure.code, status, failure.detail) from error
    raise ValueError("job: ended without a result of its layer")
