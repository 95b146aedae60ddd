"""Prunes a model further while it is trained."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pare_llm.client.pare import Pare
from pare_llm.client.pare_hosts import PareHosts
from pare_llm.finetuning.keep_zeros import keep_zeros
from pare_llm.finetuning.kept_zeros import KeptZeros
from pare_llm.pruning.layer_client import LayerClient, host_count
from pare_llm.pruning.prune import prune_

if TYPE_CHECKING:
    from pare_llm.pruning.prune_report import PruneReport


class GradualSchedule:
    """Prunes a model in several steps, and trains it with kept zeros between the steps.

    The sparsity after prune k of n is s_f + (s_i − s_f)·(1 − k/n)³ (Zhu and Gupta 2017, arXiv 1710.01878,
    eq. 1), so most weights are pruned first, while many others can still take over. A pruned weight stays
    zero in all later prunes. Typical use, once per step of the optimizer or once per epoch:

        schedule = GradualSchedule(
            client, model, optimizer, batches, initial=0.5, final=0.8, times=6, every=100
        )
        for batch in loader:
            ...
            optimizer.step()
            schedule.step()

    All ranks of a distributed run must call `step` equally often, because `prune_` communicates.
    """

    def __init__(
        self,
        client: LayerClient | Sequence[Pare],
        model: nn.Module,
        optimizer: Any,
        batches: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        initial: float,
        final: float,
        times: int,
        every: int = 1,
        begin: int = 0,
        layers: str | Sequence[str] | None = None,
        **query: Any,
    ) -> None:
        """Plan the prunes. If `initial` is not 0, the zeros of the model are kept from now on.

        Args:
            client: A `Pare` or `PareHosts`, or a list of `Pare`, as for `prune_`.
            model: A model for `prune_` and `keep_zeros`.
            optimizer: The optimizer of the model.
            batches: Calibration batches for `prune_`, or a function that returns new ones for each prune.
            initial: The sparsity s_i that the model has now. 0 for a dense model.
            final: The sparsity s_f after the last prune.
            times: The number n of prunes.
            every: The number of calls of `step` from one prune to the next.
            begin: The number of calls of `step` before the first interval begins.
            layers: Patterns of names, see `keep_zeros`.
            **query: Other arguments of `prune_`, such as `method`.

        Raises:
            ValueError: If the numbers are out of range, or if `query` sets the sparsity.
        """
        if not 0 <= initial < final < 1:
            raise ValueError(f"initial and final: need 0 <= initial < final < 1, not {initial} and {final}")
        if times < 1 or every < 1 or begin < 0:
            raise ValueError(
                f"times, every and begin: must be at least 1, 1 and 0, not {times}, {every} and {begin}"
            )
        for name in ("sparsity", "pattern"):
            if query.get(name, "unstructured") != "unstructured":
                raise ValueError(f"{name}: the schedule sets the sparsity, so {query[name]} cannot be given")
        self._client = MaskingClient(client)
        self._model = model
        self._optimizer = optimizer
        self._batches = batches
        self._query = query
        self._layers = layers
        self._initial, self._final = initial, final
        self._times, self._every, self._begin = times, every, begin
        # The number of calls of `step`. It can be set to resume a run.
        self.steps = 0
        # The masks since the last prune, or None while the model is dense.
        self.zeros: KeptZeros | None = None
        if initial > 0:
            self.zeros = keep_zeros(model, optimizer, layers=layers)

    @property
    def sparsity(self) -> float:
        """The sparsity after the last prune that is due."""
        prunes = min(max(self.steps - self._begin, 0) // self._every, self._times)
        return self._final + (self._initial - self._final) * (1 - prunes / self._times) ** 3

    def step(self) -> "PruneReport | None":
        """Count one step, and prune the model if a prune is due. Returns the report of the prune."""
        before = self.sparsity
        self.steps += 1
        return None if self.sparsity == before else self._prune()

    def _prune(self) -> "PruneReport":
        batches = self._batches() if callable(self._batches) else self._batches
        arguments: dict[str, Any] = {"progress": False, **self._query, "sparsity": self.sparsity}
        report = prune_(self._model, batches, self._client, layers=self._layers, **arguments)
        self.remove()
        self.zeros = keep_zeros(self._model, self._optimizer, layers=self._layers)
        return report

    def remove(self) -> None:
        """Stop keeping the zeros."""
        if self.zeros is not None:
            self.zeros.remove()

    def __enter__(self) -> "GradualSchedule":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class MaskingClient:
    """Sends each layer together with the mask `weight != 0`, so that the solver leaves its zeros at zero.

    Without the mask, a solver such as ALPS may give a pruned entry a new value and prune another one.
    """

    def __init__(self, client: LayerClient | Sequence[Pare]) -> None:
        clients = [client] if isinstance(client, Pare) else client
        if isinstance(clients, Sequence):
            # Unlike a `Pare`, `PareHosts` stores shared statistics again if a host has lost them.
            clients = PareHosts([one._transport.options for one in clients])
        self._client: Any = clients

    def __len__(self) -> int:
        return host_count(self._client)

    def prune_layer(self, weight: Tensor, **arguments: Any) -> Any:
        return self._client.prune_layer(weight, **{**arguments, "mask": weight != 0})

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        digest: str = self._client.put_hessian(hessian_upper, validation_hessian_upper)
        return digest

    def delete_hessian(self, digest: str) -> None:
        self._client.delete_hessian(digest)
