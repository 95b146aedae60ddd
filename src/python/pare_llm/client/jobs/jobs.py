"""Durable jobs at an edge. A job names the uploaded tensors of its layers by their digests (`uploads.py`)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, cast, overload

from pare_llm.arguments import require, require_number, require_text, to_json
from pare_llm.client.answers import parse_answer
from pare_llm.client.check_answer import max_answer_bytes
from pare_llm.client.errors import PareError
from pare_llm.client.jobs.blobs import download_blob
from pare_llm.client.jobs.messages import (
    EdgeHost,
    Job,
    JobLayerRequest,
    JobList,
    JobState,
    LayerState,
    has_ended,
)
from pare_llm.client.layer import PrunedLayer
from pare_llm.client.layer_file import decode_answer
from pare_llm.client.server_client import ServerClient
from pare_llm.client.tensor_library import NumpyLibrary, TensorLibrary, library_of
from pare_llm.client.transport import Transport, TransportOptions
from pare_llm.client.wire_tensor import Array, require_tensor

if TYPE_CHECKING:
    import numpy as np

    from pare_llm.client.layer import LayerToUpload

DEFAULT_POLL_MS = 2000


class Jobs(ServerClient):
    """The jobs at one edge. `TransportOptions` describes the arguments. Each request has its own timeout."""

    def submit(
        self,
        layers: Sequence[JobLayerRequest],
        *,
        idempotency_key: str | None = None,
        name: str | None = None,
    ) -> Job:
        """Submit a job and return it without waiting for its end.

        Args:
            layers: the layers. Their blobs must have been uploaded.
            idempotency_key: identifies the job. If a job with this key and the same layers exists, that job
                is returned. To find the job again after a restart, give a key that outlives the process. The
                default is a random key, shared by the retries of one call.
            name: a name for people, which need not be unique. It belongs to the job, so a repeated submission
                must give it again.

        Raises:
            PareError: if the edge refuses the job. The code is `idempotency_conflict` if the key belongs to a
                job with other layers.
        """
        require("layers", layers, (list, tuple), "a list of layers")
        require("name", name, (str, NoneType), "a string or None")
        require("idempotency_key", idempotency_key, (str, NoneType), "a string or None")
        message = {"layers": layers} | ({} if name is None else {"name": name})
        answer = self._transport.send(
            "POST",
            "/v1/jobs",
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": idempotency_key or str(uuid.uuid4()),
            },
            body=[to_json("layers", message).encode()],
        )
        job = _parse_job(answer)
        if self._transport.options.on_job is not None:
            self._transport.options.on_job(job["id"], len(layers))
        return job

    def list(self, *, state: JobState | None = None, limit: int = 20, cursor: str | None = None) -> JobList:
        """Return a page of the jobs that were submitted with the same API key, the newest first.

        Args:
            state: lists only the jobs in this state.
            limit: the largest number of jobs in the answer, from 1 to 100.
            cursor: the cursor of an earlier answer, to continue after it.

        Returns:
            the jobs without their layers, and the cursor of the next page, which is None on the last page.
        """
        given = {"state": state, "limit": limit, "cursor": cursor}
        query = {name: str(value) for name, value in given.items() if value is not None}
        answer = self._transport.send("GET", "/v1/jobs", query=query)
        return cast(JobList, parse_answer(answer, "/v1/jobs", "a list of jobs", JobList.__annotations__))

    def get(self, job_id: str) -> Job:
        """Return the current state of a job. Raise a PareError `not_found` if there is no such job."""
        require_text("job_id", job_id)
        return _parse_job(self._transport.send("GET", f"/v1/jobs/{job_id}"))

    def cancel(self, job_id: str) -> None:
        """Cancel a job. Layers that are still queued or running get the state and the code `cancelled`."""
        require_text("job_id", job_id)
        self._transport.send("DELETE", f"/v1/jobs/{job_id}")

    def follow(self, job_id: str, *, poll_ms: float = DEFAULT_POLL_MS) -> Iterator[LayerState]:
        """Yield each layer of a job once, as soon as its state is final, until the job has ended.

        A failed layer is yielded with its error and does not end the loop.

        Args:
            job_id: the id of the job.
            poll_ms: pause between two requests for the job, in milliseconds.
        """
        require_number("poll_ms", poll_ms)
        reported: set[str] = set()
        while True:
            job = self.get(job_id)
            for layer in job["layers"]:
                if has_ended(layer["state"]) and layer["name"] not in reported:
                    reported.add(layer["name"])
                    yield layer
            if has_ended(job["state"]):
                return
            self._transport.pause(poll_ms / 1000)

    @overload
    def result(self, layer: LayerState) -> PrunedLayer[np.ndarray[Any, Any]]: ...

    @overload
    def result(self, layer: LayerState, like: Array) -> PrunedLayer[Array]: ...

    def result(self, layer: LayerState, like: Any = None) -> PrunedLayer[Any]:
        """Download the tensors and the report of a layer that is done.

        Args:
            layer: the state of the layer.
            like: a tensor whose library and device the result takes. The default is NumPy.

        Raises:
            ValueError: if the layer is not done, if two downloads of the result have another digest than the
                result, if a number is not finite, or if the zeros contradict the mask or the report.
                `prune_by_job` also compares the result with the layer that it has sent.
            PareError: `not_found` if the edge no longer stores the result.
        """
        require("layer", layer, Mapping, "the state of a layer")
        if like is not None:
            require_tensor("like", like)
        library: TensorLibrary[Any] = NumpyLibrary() if like is None else library_of(like)
        return self._result_in(library, layer)

    def _result_in(
        self, library: TensorLibrary[Array], layer: LayerState, asked: LayerToUpload[Array] | None = None
    ) -> PrunedLayer[Array]:
        """Download a result, and compare it with the requested layer, if that is known."""
        if layer["result"] is None:
            raise ValueError(f"layer {layer['name']}: has no result, because its state is {layer['state']}")
        blob = download_blob(self._transport, layer["result"], max_answer_bytes(asked))
        return decode_answer(blob, library, asked)


def _parse_job(body: bytearray) -> Job:
    return cast(Job, parse_answer(body, "/v1/jobs", "a job", Job.__annotations__))


def list_edge_hosts(edge: TransportOptions) -> list[EdgeHost] | None:
    """List the hosts that are alive.

    Returns:
        the hosts, or None if the server refuses to list hosts. Such a server is a host itself, an edge
        without a registry of hosts, or an edge where the API key lacks the scope `metrics`.

    Raises:
        PareError, ConnectionError: if the server fails. Transient failures are raised after the last attempt.
        ValueError: if the answer is malformed.
    """
    path = "/v1/hosts"
    try:
        answer = Transport(edge).send("GET", path)
    except PareError as error:
        if not error.is_transient and error.status < 500:
            return None
        raise
    hosts = parse_answer(answer, path, "a list of hosts", ["hosts"])["hosts"]
    return [{"url": host["url"], "backend": host["backend"], "adapter": host["adapter"]} for host in hosts]
