"""The statistics that several layers share, which are stored at one host and factored once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pare_llm.client.errors import HessianNotFoundError, PareError
from pare_llm.client.jobs.prune_by_job import is_over_edge_body_limit
from pare_llm.client.layer import PrunedLayer
from pare_llm.client.pare import Pare
from pare_llm.client.wire_tensor import Array, Tensor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pare_llm.client.layer import LayerArguments


class SharedStatistics:
    """Prunes layers that share one Hessian at the host of `pare`, also from several threads."""

    def __init__(self, pare: Pare, hessian_upper: Tensor, validation_upper: Tensor | None = None) -> None:
        self._pare = pare
        self._hessian_upper = hessian_upper
        self._validation_upper = validation_upper
        self._lock = threading.Lock()
        self._is_upload_pending = True
        # The digest of the stored statistics. None if each request carries the statistics itself.
        self._digest: str | None = None

    def prune(self, weight: Array, **layer: Unpack[LayerArguments]) -> PrunedLayer[Array]:
        """Prune a layer that has these statistics, and raise the errors of `Pare.prune_layer`."""
        with self._lock:
            if self._is_upload_pending:
                self._digest = self._try_store()
                self._is_upload_pending = False
        if self._digest is not None:
            try:
                return self._prune_with_stored(weight, {**layer, "hessian": self._digest})
            except PareError as error:
                if not is_over_edge_body_limit(error):
                    raise
            # The layer exceeds the body limit of an edge even without statistics, so `Pare.prune_layer`
            # solves it by a job. A job cannot use statistics that a host has stored.
        layer["hessian"] = None
        layer["hessian_upper"] = self._hessian_upper
        layer["validation_hessian_upper"] = self._validation_upper
        return self._pare.prune_layer(weight, **layer)

    def delete(self) -> None:
        """Delete the stored statistics at the host."""
        if self._digest is not None:
            self._pare.delete_hessian(self._digest)

    def _prune_with_stored(self, weight: Array, layer: LayerArguments) -> PrunedLayer[Array]:
        """Prune with the stored statistics. If the host has evicted them, store them again."""
        try:
            return self._pare.prune_layer(weight, **layer)
        except HessianNotFoundError:
            self._pare.put_hessian(self._hessian_upper, self._validation_upper)
            return self._pare.prune_layer(weight, **layer)

    def _try_store(self) -> str | None:
        """Store the statistics and return their digest. Return None if they are too large to be stored."""
        try:
            return self._pare.put_hessian(self._hessian_upper, self._validation_upper)
        except PareError as error:
            if error.code == "too_large" or is_over_edge_body_limit(error):
                return None
            raise
