"""The client of several hosts, which are Pare servers.

The client has the methods of `Pare`, and each host solves one layer at a time. Call `prune_layer` in as many
threads as there are hosts to use all of them. If all hosts have the same backend and the same adapter, the
results have the bytes of a single host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pare_llm.arguments import require, require_function, require_text
from pare_llm.client.errors import HessianNotFoundError, PareError, add_note
from pare_llm.client.jobs.blobs import MemoryBlob, digest_of_blob
from pare_llm.client.jobs.prune_by_job import is_over_edge_body_limit
from pare_llm.client.layer import PrunedLayer
from pare_llm.client.layer_file import encode_parts, packed_statistics
from pare_llm.client.pare import HostDescription, Pare
from pare_llm.client.transport import TransportOptions
from pare_llm.client.wire_tensor import Array, Tensor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pare_llm.client.layer import LayerArguments
    from pare_llm.client.layer_query import LayerQuery

# The longest time in seconds for the check whether a lost host is reachable again. A thread that has a layer
# to send waits for this check.
_RECHECK_TIMEOUT_SECONDS = 2.0

# The seconds between two checks of a lost host.
_RECHECK_SECONDS = 30.0

# The tensors that the digest of stored statistics takes the place of.
_STATISTICS = ("hessian_upper", "inputs", "validation_hessian", "validation_hessian_upper")


@dataclass(eq=False)
class _Host:
    """One host and its state."""

    pare: Pare
    is_free: bool = True
    # The time of the loss or of the last check after it. None if the host is not lost.
    lost_at: float | None = None
    # Whether the host stores statistics that its layers have used, by their digests. It does not store
    # statistics that are too large, which are sent with each layer.
    statistics: dict[str, bool] = field(default_factory=dict)

    @property
    def options(self) -> TransportOptions:
        return self.pare._transport.options


class PareHosts:
    """A client of several hosts.

    Args:
        hosts: the URL of each host, its options, or its client.
        on_host_lost: called with the URL and the error when a host still fails transiently after all retries
            of its request. The layer of this host is sent to another host. The lost host gets no layers until
            it is reachable again, which is checked every 30 seconds.

    Raises:
        ValueError: if `hosts` is empty, or if a URL is not an http or https URL.
    """

    def __init__(
        self,
        hosts: Sequence[str | TransportOptions | Pare],
        *,
        on_host_lost: Callable[[str, PareError | ConnectionError], None] | None = None,
    ) -> None:
        if isinstance(hosts, str) or not isinstance(hosts, Sequence):
            raise TypeError(
                f"hosts: must be a list of URLs or of TransportOptions, got {type(hosts).__name__}; "
                "a single host needs a list too, or Pare"
            )
        for index, host in enumerate(hosts):
            require(f"hosts[{index}]", host, (str, TransportOptions, Pare), "a URL, options or a Pare")
        require_function("on_host_lost", on_host_lost)
        if len(hosts) == 0:
            raise ValueError("hosts: must be at least one, got 0")
        self._hosts = [_Host(_client_of(host)) for host in hosts]
        self._on_host_lost = on_host_lost
        self._changed = threading.Condition()
        # The statistics that the caller has put, by their digests. A host receives them with the first layer
        # that uses them.
        self._hessians: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._last_error: PareError | ConnectionError | None = None

    def __len__(self) -> int:
        """Return the number of hosts, including lost ones."""
        return len(self._hosts)

    def prune_layer(self, weight: Array, **layer: Unpack[LayerArguments]) -> PrunedLayer[Array]:
        """Prune one layer at the next host that is free, as `Pare.prune_layer`.

        Raises:
            ValueError: if other statistics are given beside the digest of stored ones.
            PareError: if a host refuses the layer.
            PareError, ConnectionError: the error of the host that was lost last, if all hosts are lost.
        """
        hessian = layer.get("hessian")
        digest = hessian if isinstance(hessian, str) else None
        given = [name for name in _STATISTICS if layer.get(name) is not None]
        if digest is not None and given:
            raise ValueError(
                f"{given[0]}: cannot be given beside the digest of stored statistics, {digest}; give "
                "validation statistics to put_hessian"
            )
        while True:
            with self._take(digest) as host:
                try:
                    if digest is None:
                        return host.pare.prune_layer(weight, **layer)
                    return self._prune_with_shared(host, digest, weight, layer)
                except (PareError, ConnectionError) as error:
                    if not self._mark_lost(host, error):
                        raise

    def check(self, *queries: LayerQuery) -> None:
        """Check every host, as `Pare.check`. A host that still fails transiently is lost.

        Raises:
            PareError: if a host refuses the key or a parameter.
            PareError, ConnectionError: the error of the last host, if all hosts are lost.
        """
        for host in self._hosts:
            try:
                host.pare.check(*queries)
            except (PareError, ConnectionError) as error:
                if not self._mark_lost(host, error):
                    add_note(error, f"This is the answer of {host.options.base_url}.")
                    raise
        if self._last_error and all(host.lost_at is not None for host in self._hosts):
            raise self._last_error

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Remember calibration statistics that several layers share, as `Pare.put_hessian`.

        Each host stores the statistics before its first layer that uses them.
        """
        statistics = hessian_upper, validation_hessian_upper
        digest = digest_of_blob(MemoryBlob(encode_parts(packed_statistics(*statistics))))
        with self._changed:
            self._hessians[digest] = statistics
        return digest

    def delete_hessian(self, digest: str) -> None:
        """Forget statistics, and delete them at the hosts that store them."""
        require_text("digest", digest)
        with self._changed:
            self._hessians.pop(digest, None)
            stored = [host for host in self._hosts if host.statistics.pop(digest, False)]
        for host in stored:
            if host.lost_at is not None:
                continue
            try:
                host.pare.delete_hessian(digest)
            except (PareError, ConnectionError) as error:
                # If the host cannot be reached, the statistics stay there. The host evicts them when its
                # store needs the memory.
                if not self._mark_lost(host, error):
                    raise

    def describe_hosts(self) -> list[HostDescription]:
        """Describe the device of each host, in the order of the hosts, as `Pare.describe_host`."""
        return [host.pare.describe_host() for host in self._hosts]

    def close(self) -> None:
        """Close the connections that no request uses."""
        for host in self._hosts:
            host.pare.close()

    def __enter__(self) -> PareHosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _take(self, digest: str | None) -> Iterator[_Host]:
        """Wait for a free host. A host that stores the statistics `digest` is preferred."""
        self._recheck_lost_hosts()
        with self._changed:
            while True:
                reachable = [host for host in self._hosts if host.lost_at is None]
                if not reachable and self._last_error is not None:
                    raise self._last_error
                free = [host for host in reachable if host.is_free]
                if free:
                    host = next((host for host in free if digest in host.statistics), free[0])
                    break
                self._changed.wait()
            host.is_free = False
        try:
            yield host
        finally:
            with self._changed:
                host.is_free = True
                self._changed.notify_all()

    def _prune_with_shared(
        self, host: _Host, digest: str, weight: Array, layer: LayerArguments
    ) -> PrunedLayer[Array]:
        """Prune with statistics that several layers share, which the host stores before the first of them."""
        if digest not in self._hessians:
            raise HessianNotFoundError(
                "hessian_not_found", 404, f"{digest}: call put_hessian of this client first"
            )
        upper, validation = self._hessians[digest]
        if (is_stored := host.statistics.get(digest)) is None:
            is_stored = host.statistics[digest] = _try_store(host.pare, upper, validation)
        if is_stored:
            try:
                try:
                    return host.pare.prune_layer(weight, **layer)
                except HessianNotFoundError:  # the host has evicted the statistics
                    host.pare.put_hessian(upper, validation)
                    return host.pare.prune_layer(weight, **layer)
            except PareError as error:
                if not is_over_edge_body_limit(error):
                    raise
            # The layer exceeds the body limit of an edge even without statistics, so `Pare.prune_layer`
            # solves it by a job. A job cannot use statistics that a host has stored.
        layer = {**layer, "hessian": None, "hessian_upper": upper, "validation_hessian_upper": validation}
        return host.pare.prune_layer(weight, **layer)

    def _mark_lost(self, host: _Host, error: PareError | ConnectionError) -> bool:
        """Mark `host` as lost if `error` is transient, and return whether the host is lost.

        A single host is never lost, because no other host could take over its layer.
        """
        is_loss = isinstance(error, ConnectionError) or error.is_transient
        if not is_loss or len(self._hosts) == 1:
            return False
        with self._changed:
            host.lost_at = time.monotonic()
            host.statistics.clear()
            host.pare._stored.clear()
            self._last_error = error
        if self._on_host_lost is not None:
            self._on_host_lost(host.options.base_url, error)
        return True

    def _recheck_lost_hosts(self) -> None:
        """Ask the lost hosts whether they are reachable again, unless they were asked a short time ago."""
        now = time.monotonic()
        with self._changed:
            due = [
                host
                for host in self._hosts
                if host.lost_at is not None and now - host.lost_at > _RECHECK_SECONDS
            ]
            for host in due:
                host.lost_at = now
        for host in due:
            options = replace(host.options, retries=0, timeout=_RECHECK_TIMEOUT_SECONDS)
            try:
                with Pare.from_options(options) as pare:
                    pare.describe_host()
            except (PareError, OSError, ValueError):
                continue
            with self._changed:
                host.lost_at = None
                self._changed.notify_all()


def _client_of(host: str | TransportOptions | Pare) -> Pare:
    if isinstance(host, Pare):
        return host
    return Pare(host) if isinstance(host, str) else Pare.from_options(host)


def _try_store(pare: Pare, hessian_upper: Tensor, validation_upper: Tensor | None) -> bool:
    """Store statistics at a host. Return False if they are too large to be stored."""
    try:
        pare.put_hessian(hessian_upper, validation_upper)
    except PareError as error:
        if error.code == "too_large" or is_over_edge_body_limit(error):
            return False
        raise
    return True
