"""Prunes a layer that exceeds the body limit of an edge, which is Pare's Cloudflare Worker in front of GPU
hosts.

The tensors of the layer are uploaded, and a job with this one layer prunes it.
"""

from __future__ import annotations

from pare_llm.client.errors import STATUSES, PareError, error_class
from pare_llm.client.jobs.prune_by_job import JobFailedError, prune_with
from pare_llm.client.jobs.upload_layers import LayerToUpload
from pare_llm.client.layer_file import PrunedLayer
from pare_llm.client.transport import Transport
from pare_llm.client.wire_tensor import Array


def is_over_edge_body_limit(error: PareError) -> bool:
    """Whether a request failed because its body exceeds the limit of an edge, so that it can be uploaded
    instead.

    If the edge itself refused the body, the error has the URL of its uploads. If a proxy in front of the edge
    refused the body, the error is not problem+json. If a host refused the body, the function returns False,
    because a host accepts no uploads.
    """
    return error.status == 413 and (error.uploads is not None or error.code == "unknown")


def prune_large_layer(transport: Transport, layer: LayerToUpload[Array]) -> PrunedLayer[Array]:
    """Prune one layer by a job.

    Raises:
        PareError: with the code and the detail of the job's error, if the layer fails.
        PareError, ConnectionError: as `Uploads.upload_blob` and the methods of `Jobs`.
    """
    try:
        for _, pruned in prune_with(transport, [layer]):
            return pruned
    except JobFailedError as error:
        failure = error.failures[0]
        # A job also has codes that are not problems of the HTTP contract, such as `cancelled`.
        status = STATUSES.get(failure.code, 500)
        raise error_class(failure.code)(failure.code, status, failure.detail) from error
    raise ValueError("job: ended without a result of its layer")
