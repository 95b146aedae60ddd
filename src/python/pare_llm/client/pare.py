"""The client of one Pare server, which is a host or an edge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pare_llm.arguments import require_text
from pare_llm.client.answers import parse_answer
from pare_llm.client.check_answer import max_answer_bytes
from pare_llm.client.errors import PareError
from pare_llm.client.jobs.blobs import MemoryBlob, digest_of_blob
from pare_llm.client.jobs.prune_by_job import is_over_edge_body_limit, prune_large_layer
from pare_llm.client.layer import LayerToUpload, PrunedLayer, split_arguments
from pare_llm.client.layer_file import decode_answer, encode_parts, packed_statistics
from pare_llm.client.runs import Runs
from pare_llm.client.server_client import ServerClient
from pare_llm.client.tensor_library import library_of
from pare_llm.client.wire_tensor import Array, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from pare_llm.client.layer import LayerArguments
    from pare_llm.client.layer_query import LayerQuery


@dataclass(frozen=True)
class HostDescription:
    """The device of a host, as its reports name it: the backend `webgpu` or `cpu`, and the adapter."""

    backend: str
    adapter: str


class Pare(ServerClient):
    """A client of one Pare host or edge.

    Example:
        >>> pare = Pare("http://127.0.0.1:8000")  # doctest: +SKIP
        >>> pruned = pare.prune_layer(linear.weight, inputs=activations, pattern="2:4")  # doctest: +SKIP

    `TransportOptions` describes the arguments.

    Raises:
        ValueError: if `base_url` is not an http or https URL.
    """

    # Length in bytes of the shortest body that exceeded the body limit of an edge.
    _smallest_rejected_bytes: float = math.inf

    @cached_property
    def runs(self) -> Runs:
        """The runs of whole models, at a host that accepts them."""
        return Runs._over(self._transport)

    @cached_property
    def _stored(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """The stored statistics by their digests, with which the answers of their layers are compared."""
        return {}

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_stored"}

    def prune_layer(self, weight: Array, **layer: Unpack[LayerArguments]) -> PrunedLayer[Array]:
        """Prune one layer with `out` output and `in` input features.

        Exactly one of `hessian`, `hessian_upper` and `inputs` must be given, unless the method needs no
        statistics. If the layer exceeds the body limit of an edge, its tensors are uploaded, and a job of
        this one layer prunes it.

        Args:
            weight: (out, in) float32, float16 or bfloat16: a torch tensor on any device, or a NumPy array.
            hessian: (in, in) float32, the sum of x·xᵀ over the calibration inputs x, times any positive
                factor. Or the digest `sha256:HEX` of stored statistics, which `put_hessian` returns.
            hessian_upper: (in·(in+1)/2) float32, the upper triangle of `hessian`, packed row by row.
            inputs: (tokens, in) float32, float16 or bfloat16, the calibration inputs themselves.
            validation_hessian: (in, in) float32, the sum of x·xᵀ over inputs that are not in the statistics,
                times any positive factor. If it is given, it decides between the results of the solve.
            validation_hessian_upper: (in·(in+1)/2) float32, the upper triangle of `validation_hessian`.
            mask: (out, in) bool. Weights where it is False are pruned in any case. Without `sparsity` and
                `pattern`, they are the only ones.
            target: (out, in) float32, the sum of y·xᵀ over the calibration inputs x and the outputs y that
                the layer should have, times the factor of the statistics.
            validation_target: (out, in) float32, the same sum over the inputs of the validation statistics,
                times their factor. With it, the results of the solve are compared with y.
            **layer: the tensors above, and the parameters of the layer, which `LayerQuery` describes.

        Returns:
            the pruned layer, in the library and on the device of `weight`.

        Raises:
            PareError: if the server refuses the layer, with the server's code and detail.
            ConnectionError: if the server cannot be reached.
            TimeoutError: if the timeout of the client passes.
            TypeError: if a tensor has a dtype that the server does not accept, or if the pattern is columns.
            ValueError: if the answer is malformed or is not the requested layer, for example if it has
                another shape or dtype, numbers that are not finite, zeros that contradict the mask, the
                report or the request, or another error than its report says.
        """
        if layer.get("pattern") == "columns":
            raise TypeError("pattern: columns is not supported by this client; `pare layer` removes columns")
        tensors, query = split_arguments(layer)
        digest = cast(str, tensors.pop("hessian")) if isinstance(tensors.get("hessian"), str) else None
        request: LayerToUpload[Array] = LayerToUpload("layer", weight, parameters=query, **cast(Any, tensors))
        body = encode_parts(request.tensors())
        byte_length = sum(len(part) for part in body)
        transport = self._transport.with_deadline()
        # A job cannot use statistics that a host has stored, so the caller has to send them.
        can_use_job = digest is None
        if can_use_job and byte_length >= self._smallest_rejected_bytes:
            return prune_large_layer(transport, request)
        try:
            parameters = _query_parameters({**query, "hessian": digest})
            answer = transport.send(
                "POST",
                "/v1/layers",
                query=parameters,
                body=body,
                max_answer_bytes=max_answer_bytes(request),
            )
        except PareError as error:
            if not is_over_edge_body_limit(error):
                raise
            self._smallest_rejected_bytes = min(byte_length, self._smallest_rejected_bytes)
            if not can_use_job:
                raise
        else:
            if digest in self._stored:
                upper, validation = self._stored[digest]
                request = replace(request, hessian_upper=upper, validation_hessian_upper=validation)
            return decode_answer(answer, library_of(weight), request)
        return prune_large_layer(transport, request)

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Store calibration statistics that several layers share, so that the host factors them once.

        This client keeps the tensors until `delete_hessian`, to compare the answers of the layers with them.
        The tensors must not change before.

        Args:
            hessian_upper: (n·(n+1)/2) float32, the upper triangle of the (n, n) Hessian, packed row by row,
                where n is the number of input features.
            validation_hessian_upper: the validation statistics of the same layers, in the same form.

        Returns:
            the digest of the stored statistics. To use them for a layer, give this digest as `hessian`.

        Raises:
            PareError: `too_large` if the host cannot store statistics of this size.
        """
        body = encode_parts(packed_statistics(hessian_upper, validation_hessian_upper))
        digest = digest_of_blob(MemoryBlob(body))
        self._transport.send("PUT", f"/v1/hessians/{digest}", body=body)
        self._stored[digest] = hessian_upper, validation_hessian_upper
        return digest

    def delete_hessian(self, digest: str) -> None:
        """Delete stored statistics. Statistics that do not exist cause no error."""
        require_text("digest", digest)
        self._stored.pop(digest, None)
        try:
            self._transport.send("DELETE", f"/v1/hessians/{digest}")
        except PareError as error:
            if error.status != 404:
                raise

    def check_key(self) -> None:
        """Check that the server accepts the API key for solving layers, without sending a layer.

        Raises:
            PareError: `unauthorized` or `forbidden`.
            ConnectionError: if the server cannot be reached.
        """
        self._check_request({})

    def check(self, *queries: LayerQuery) -> None:
        """Wait until the host is ready, and check the API key and the parameters of layers without a layer.

        Raises:
            PareError: `unauthorized`, `forbidden` or `invalid_parameter`, or as `describe_host`.
            ConnectionError: if the server cannot be reached.
        """
        self.describe_host()
        for query in queries or ({},):
            self._check_request(query)

    def _check_request(self, query: Mapping[str, object]) -> None:
        try:
            # A server checks the key and the parameters first, and then refuses a request that has no body.
            self._transport.send("POST", "/v1/layers", query=_query_parameters(query))
        except PareError as error:
            if error.status in (401, 403) or error.code == "invalid_parameter":
                raise

    def describe_host(self) -> HostDescription:
        """Ask the host for its device. A host that is still starting is asked again.

        Raises:
            PareError: `no_device` or `device_lost`.
        """
        path = "/readyz"
        answer = parse_answer(
            self._transport.send("GET", path), path, "the description of a host", ("backend", "adapter")
        )
        return HostDescription(answer["backend"], answer["adapter"]["name"])


def _query_parameters(query: Mapping[str, object]) -> dict[str, str]:
    """Return `query` as the parameters of a query string. Parameters that are None are left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
