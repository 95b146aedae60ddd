"""Solves the layers of one block at the hosts of all ranks, and gives every rank every result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pare_llm.client.errors import add_note
from pare_llm.pruning.calibration.target_statistics import LayerTarget
from pare_llm.pruning.input_statistics import InputStatistics, with_damping, with_note, without_step
from pare_llm.pruning.journal import Journal, JournalEntry
from pare_llm.pruning.layer_client import LayerClient, host_count
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.model.sharding import is_shard
from pare_llm.pruning.prune_report import LayerResult
from pare_llm.pruning.ranks import Ranks, assign_owners, describe_error

if TYPE_CHECKING:
    from pare_llm.client.answers import Report
    from pare_llm.client.layer_query import LayerQuery

# A layer that this rank has solved: its weight and its result.
_Solved = tuple[Tensor, LayerResult]


@dataclass
class BlockSolver:
    """The hosts of this rank, and the journal. All ranks must call the methods in the same order."""

    client: LayerClient
    queries: Mapping[str, LayerQuery]
    """The parameters of each layer, by the name of the layer."""
    ranks: Ranks
    journal: Journal | None
    """The journal of the run, which only rank 0 has."""
    is_journaled: bool
    """Whether rank 0 has a journal."""
    chosen_by: Mapping[str, str] = field(default_factory=dict)
    """The layers whose zeros are their masks, and the method that has chosen the zeros."""
    written: dict[str, Layer] = field(default_factory=dict)
    """The layers whose weights were replaced in the model, by name."""
    adapter: tuple[str, str] | None = None
    """The backend and the adapter that solved the first layer."""

    def finished_layers(self, layers: Sequence[Layer]) -> dict[str, JournalEntry]:
        """Return the journal's entries of those layers that an earlier process has finished."""
        names = [layer.name for layer in layers]
        finished = self.ranks.together(lambda: self.journal.finished(names) if self.journal else {})
        return self.ranks.share(finished, 0)

    def own_layers(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return the layers that this rank has to solve if `layers` are the unfinished layers of a block."""
        ranks = assign_ranks(layers, self.ranks.count)
        return [layer for layer in layers if ranks[layer.name] == self.ranks.index]

    def solve(
        self,
        layers: Sequence[Layer],
        finished: Mapping[str, JournalEntry],
        statistics: Mapping[str, InputStatistics],
        targets: Mapping[str, LayerTarget],
        calibration_seconds: float,
        measure: Callable[[], float] | None = None,
    ) -> Iterator[LayerResult]:
        """Yield the results of `layers` in their order, after the weight was replaced and recorded.

        `finished` are the layers in the journal. `statistics` and `targets` are those of the layers that this
        rank solves. With `measure`, which returns the error of the output of the block with its current
        weights, all layers are solved with targets and without, and the solutions with the smaller error are
        used. If some layers of the block are finished already, the others are solved with targets only if the
        finished ones were.
        """
        pending = [layer for layer in layers if layer.name not in finished]
        owners = assign_ranks(pending, self.ranks.count)
        executor = ThreadPoolExecutor(host_count(self.client), "pare")
        ways = [targets]
        if measure and finished:
            ways = [targets if any("target_step" in each["report"] for each in finished.values()) else {}]
        elif measure:
            ways = [targets, {}]
        try:
            solving: list[dict[str, Future[_Solved]]] = [{} for _ in ways]
            for layer in pending:
                weight = layer.read()  # every rank reads every weight, because weights may be sharded
                if owners[layer.name] == self.ranks.index:
                    own = statistics.get(layer.name)
                    for way, futures in zip(ways, solving, strict=True):
                        target = way.get(layer.name)
                        futures[layer.name] = executor.submit(self._solve, layer, weight, own, target)
            chosen = self._choose(pending, solving, owners, measure) if measure and len(ways) > 1 else {}
            for layer in layers:
                if entry := finished.get(layer.name):
                    yield self._restore(layer, entry)
                    continue
                solved = chosen.pop(layer.name, None)
                if not solved:
                    future = solving[0].pop(layer.name, None)
                    solved = self._receive(layer, future, owners[layer.name])
                yield self._finish(layer, solved, calibration_seconds)
                calibration_seconds = 0
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        used = set(statistics.values())
        self.ranks.together(lambda: list(map(InputStatistics.delete, used)))

    def _choose(
        self,
        layers: Sequence[Layer],
        solving: Sequence[dict[str, Future[_Solved]]],
        owners: Mapping[str, int],
        measure: Callable[[], float],
    ) -> dict[str, _Solved]:
        """Return the solutions with which the block has the smaller error. Of equal ones, the last."""
        best: dict[str, _Solved] = {}
        least = float("inf")
        # All layers are received before a weight is written, because a solve reads the weight of the model.
        solutions = [
            {
                layer.name: self._receive(layer, futures.pop(layer.name, None), owners[layer.name])
                for layer in layers
            }
            for futures in reversed(solving)
        ]
        for solved in solutions:
            for layer in layers:
                self._write(layer, solved[layer.name][0])
            error = measure()
            if not best or error < least:
                best, least = solved, error
        return best

    def _solve(
        self,
        layer: Layer,
        weight: Tensor,
        statistics: InputStatistics | None,
        target: LayerTarget | None,
    ) -> _Solved:
        started = time.perf_counter()
        query, method = self.queries[layer.name], self.chosen_by.get(layer.name)
        if target is None:
            query = without_step(query)
        tokens, columns = statistics.tokens if statistics else None, weight.shape[1]
        if statistics:
            damped = with_damping(query, tokens, columns, statistics.is_validated)
            mask = None if method is None else weight != 0
            pruned = statistics.prune(weight, damped, target, mask)
        else:
            pruned = self.client.prune_layer(weight, **query)
        report = with_note(pruned.report, query, tokens, columns)
        if method is not None:
            first = f"The layer was first solved by {method} without rounding, before the reconstruction "
            note = first + "of its block and the solve that this report describes."
            report = {**report, "notes": [note, *report["notes"]]}
        seconds = time.perf_counter() - started
        place = layer.name, layer.weight_name, layer.block.index
        return pruned.weight, LayerResult(*place, report, seconds, 0, tokens)

    def _restore(self, layer: Layer, entry: JournalEntry) -> LayerResult:
        """Replace the weight of a finished layer by that in the journal, which rank 0 reads."""
        self._require_same_adapter(layer, entry["report"])
        weight = self.ranks.together(lambda: self.journal.read(layer.name) if self.journal else None)
        self._write(layer, self._share_weight(layer, weight, 0))
        place = layer.name, layer.weight_name, layer.block.index
        times = entry["seconds"], entry["calibration_seconds"]
        return LayerResult(*place, entry["report"], *times, entry.get("tokens"))

    def _finish(self, layer: Layer, solved: _Solved, calibration_seconds: float) -> LayerResult:
        """Replace the weight of a layer that was solved, and record it."""
        weight, result = solved
        shared = self.ranks.share(calibration_seconds, 0)  # so that all ranks have the same report
        result = replace(result, calibration_seconds=shared)
        self._require_same_adapter(layer, result.report)
        self._write(layer, weight)
        self.ranks.together(lambda: self.journal.record(weight, result) if self.journal else None)
        return result

    def _write(self, layer: Layer, weight: Tensor) -> None:
        """Replace a weight. Raise a RuntimeError if the model then has fewer zeros than the new weight."""
        self.written[layer.name] = layer
        layer.write(weight)
        if is_shard(layer.linear.parameter):
            return  # every rank would have to gather the weight again
        found, sent = (int(torch.count_nonzero(values)) for values in (layer.read(), weight))
        if found > sent:
            raise RuntimeError(
                f"{layer.name}: has {found} nonzero weights in the model and {sent} in the answer of the host"
            )

    def _receive(self, layer: Layer, future: Future[_Solved] | None, owner: int) -> _Solved:
        """Wait for a layer that the rank `owner` is solving, or raise its error on every rank."""
        mine: LayerResult | str = ""  # the result, or the error
        weight: Tensor | None = None
        failure: Exception | None = None
        if future:
            try:
                weight, mine = future.result()
            except Exception as error:
                mine, failure = describe_error(error), error
        result = self.ranks.share(mine, owner)
        if failure:
            add_note(failure, f"{layer.name}: could not be pruned.")
            raise failure
        if isinstance(result, str):
            raise RuntimeError(f"{layer.name}: could not be pruned on rank {owner}: {result}")
        return self._share_weight(layer, weight, owner), result

    def _share_weight(self, layer: Layer, weight: Tensor | None, source: int) -> Tensor:
        if weight is None:
            weight = torch.empty(layer.shape, dtype=layer.dtype, device=layer.device)
        return self.ranks.share_tensor(weight, source)

    def _require_same_adapter(self, layer: Layer, report: Report) -> None:
        """Refuse another adapter in a run with a journal, because adapters round differently."""
        adapter = (report["backend"], report["adapter"])
        self.adapter = self.adapter or adapter
        if self.is_journaled and adapter != self.adapter:
            raise RuntimeError(
                f"{layer.name}: was solved on {adapter[0]} ({adapter[1]}), but the first layer of the run on "
                f"{self.adapter[0]} ({self.adapter[1]}), which rounds differently; continue the run of this "
                "journal on that adapter, or start another one"
            )


def assign_ranks(layers: Sequence[Layer], count: int) -> dict[str, int]:
    """Return the rank of each layer, by the name of the layer.

    The cost of a layer is rows·cols², the number of operations of a solve.
    """
    return assign_owners({layer.name: layer.shape[0] * layer.shape[1] ** 2 for layer in layers}, count)
