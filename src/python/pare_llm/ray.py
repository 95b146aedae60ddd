"""Prunes a checkpoint folder on a Ray cluster, with one Ray task per layer.

    import pare_llm.ray

    report = pare_llm.ray.prune("opt-125m", batches, "pruned", sparsity=0.5)

A node that may send layers to hosts has the custom resource `pare_host`, with one unit for each of its hosts:
`ray start --resources '{"pare_host": 1}'`. Ray decides which node sends a layer, and repeats the layer on
another node if it loses the first node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import ray
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'pare_llm.ray needs ray, which is not installed: pip install "pare-llm[ray]"', name=error.name
    ) from error
import torch
from ray.exceptions import RayTaskError
from torch import Tensor

from pare_llm.client.errors import PareError
from pare_llm.client.pare_hosts import PareHosts
from pare_llm.client.transport import TransportOptions
from pare_llm.pruning.calibration.batches import BatchInput, Validation
from pare_llm.pruning.calibration.windows import HELD_OUT_SHARE
from pare_llm.pruning.folder.prune_folder import prune_folder
from pare_llm.pruning.prune_report import LayerResult, PruneReport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pare_llm.client.layer import LayerArguments, PrunedLayer
    from pare_llm.pruning.run_options import RunParameters

HOST_RESOURCE = "pare_host"
"""The custom resource of Ray that each task takes one unit of."""

# The most layers of a block that are given to Ray at once. Ray queues the tasks for which no node is free.
_MAX_PENDING_LAYERS = 256


def prune(
    model_folder: str | Path,
    batches: Iterable[BatchInput],
    out: str | Path,
    *,
    hosts: Sequence[str | TransportOptions] = ("http://127.0.0.1:8000",),
    resources: Mapping[str, float] | None = None,
    max_retries: int = 5,
    validation: Validation = HELD_OUT_SHARE,
    journal: str | Path | None = None,
    progress: bool = True,
    on_layer: Callable[[LayerResult], None] | None = None,
    model_dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    states_device: torch.device | str = "cpu",
    **parameters: Unpack[RunParameters],
) -> PruneReport:
    """Prune a checkpoint folder as `prune_folder` does, and give each layer to a Ray task.

    The forward passes run in this process, so only this process needs the checkpoint. Ray gets all layers of
    a block together. The result has the same bytes as with `prune_folder` if all hosts have the same backend
    and the same adapter. The other arguments are the same as for `prune_folder`. Set `journal`, because Ray
    does not restart this process if it fails.

    - hosts: the hosts that a task may use, by the URLs under which the nodes reach them, or by their options
      if they need an API key. The default is one host on each node. If a task cannot reach a host, it uses
      another one of the list.
    - resources: the resources of Ray that a task takes. By default one unit of `pare_host`.
    - max_retries: how often Ray repeats a layer whose worker or node it has lost, or whose hosts all failed
      transiently.

    Raises:
        ConnectionError: if the hosts of a layer still fail transiently after all repetitions.
        ray.exceptions.RayError: if Ray lost the workers of a layer more often than it repeats the layer.
        PareError, ValueError, OSError: as `prune_folder`.
    """
    client = RayClient(hosts, resources or {HOST_RESOURCE: 1}, max_retries)
    try:
        return prune_folder(
            model_folder,
            batches,
            client,
            out,
            validation=validation,
            journal=journal,
            progress=progress,
            on_layer=on_layer,
            model_dtype=model_dtype,
            device=device,
            states_device=states_device,
            **parameters,
        )
    finally:
        client.cancel()


def _solve_layer(
    hosts: Sequence[str | TransportOptions],
    weight: Tensor,
    statistics: tuple[Tensor | None, Tensor | None],
    is_shared: bool,
    layer: LayerArguments,
) -> PrunedLayer[Tensor]:
    """Prune one layer at the first of `hosts` that can be reached.

    `statistics` are the packed Hessian and the packed validation Hessian, and `layer` has the mask, the
    targets and the parameters. If several layers share the statistics, they stay at the host until it needs
    the memory. If all hosts fail transiently, Ray repeats the task because of the ConnectionError. A
    PareError says that a host refuses the layer.
    """
    with PareHosts(hosts) as client:
        try:
            upper, validation = statistics
            if is_shared and upper is not None:
                layer["hessian"] = client.put_hessian(upper, validation)
            else:
                layer |= {"hessian_upper": upper, "validation_hessian_upper": validation}
            return client.prune_layer(weight, **layer)
        except PareError as error:
            if error.is_transient:
                raise ConnectionError(str(error)) from error
            raise


class RayClient:
    """Gives each layer to a Ray task. It has the methods that `prune_` needs of its client."""

    def __init__(
        self, hosts: Sequence[str | TransportOptions], resources: Mapping[str, float], max_retries: int
    ) -> None:
        """Give layers to `hosts`. `prune` describes the arguments."""
        if len(hosts) == 0:
            raise ValueError("hosts: must be at least one, got 0")
        # A task only sends a request and waits for its answer, so it takes no processor of its node. With the
        # strategy SPREAD, a task that is repeated prefers another node, because the first node may have been
        # the reason.
        self._task = ray.remote(_solve_layer).options(
            num_cpus=0,
            resources=dict(resources),
            scheduling_strategy="SPREAD",
            max_retries=max_retries,
            retry_exceptions=[ConnectionError],
        )
        self._hosts = list(hosts)
        self._index = count()
        # The statistics that several layers share. Ray sends them once to each node that needs them.
        self._hessians: dict[str, ray.ObjectRef[tuple[Tensor, Tensor | None]]] = {}
        self._pending: set[ray.ObjectRef[PrunedLayer[Tensor]]] = set()

    def __len__(self) -> int:
        """Return the number of layers that may be given to Ray at the same time."""
        return _MAX_PENDING_LAYERS

    def prune_layer(self, weight: Tensor, **layer: Unpack[LayerArguments]) -> PrunedLayer[Tensor]:
        """Prune one layer in a task, and wait for its result, whose tensors are on the CPU."""
        own = layer.pop("hessian_upper", None), layer.pop("validation_hessian_upper", None)
        hessian: Any = layer.pop("hessian", None)
        statistics: Any = own if hessian is None else self._hessians[hessian]
        # Each task begins with the next host, so that all hosts get layers.
        first = next(self._index) % len(self._hosts)
        hosts = self._hosts[first:] + self._hosts[:first]
        pending = self._task.remote(hosts, weight.cpu(), statistics, hessian is not None, layer)
        self._pending.add(pending)
        try:
            pruned: PrunedLayer[Tensor] = ray.get(pending)
            return pruned
        except RayTaskError as error:
            raise error.cause from None
        finally:
            self._pending.discard(pending)

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Store statistics in Ray's object store, and return the name of the object."""
        stored = ray.put((hessian_upper, validation_hessian_upper))
        self._hessians[stored.hex()] = stored
        return stored.hex()

    def delete_hessian(self, digest: str) -> None:
        """Let Ray delete statistics."""
        del self._hessians[digest]

    def cancel(self) -> None:
        """End the tasks that are not finished. There are some only if the run has failed.

        The worker of a task is killed, because it would otherwise wait until the host has answered.
        """
        for pending in list(self._pending):
            ray.cancel(pending, force=True)
