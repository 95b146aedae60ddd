"""The steps that pruning a model in memory and pruning a checkpoint folder have in common."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from pare_llm.checkpoints.remote import as_path, is_remote
from pare_llm.layers.linear_layer import list_names
from pare_llm.pruning.allocation.allocate import allocation_request
from pare_llm.pruning.allocation.dense_pass import DensePass
from pare_llm.pruning.block_loop import BlockLoop
from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.calibration.batches import BatchInput, Validation, is_iterable, read_batches
from pare_llm.pruning.calibration.capture import Capture
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.fingerprint import run_fingerprint
from pare_llm.pruning.journal import Journal
from pare_llm.pruning.layer_client import LayerClient, combine_clients
from pare_llm.pruning.model.blocks import BlockStore, find_blocks
from pare_llm.pruning.model.layer_choice import choose_layers
from pare_llm.pruning.model.layers import Layer, linear_layers, matrices_outside, matrix_names
from pare_llm.pruning.model.require_weights import require_dense
from pare_llm.pruning.model.sharding import is_sharded
from pare_llm.pruning.model.unfinished import require_unpruned
from pare_llm.pruning.parameters import (
    layer_query,
    merge_parameters,
    needs_no_statistics,
    only_rounding,
    resolved_parameters,
    without_rounding,
)
from pare_llm.pruning.preflight import parameter_facts, require_hosts, require_same, weight_facts
from pare_llm.pruning.progress_bar import progress_bar
from pare_llm.pruning.prune_report import Allocation, LayerResult, PruneReport, RunFacts
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.reconstruction.block_trainer import windows_per_batch
from pare_llm.pruning.reconstruction.reconstruct import BlockReconstruction
from pare_llm.pruning.report_views import starved_text
from pare_llm.pruning.run_options import RunOptions

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery
    from pare_llm.client.pare import Pare
    from pare_llm.pruning.trackers.tracker import Tracker
    from pare_llm.statistics.hessian import TokenWeights


class PruneRun:
    """One run. On several ranks, every rank calls the methods in the same order."""

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[BatchInput],
        client: LayerClient | Sequence[Pare],
        *,
        validation: Validation,
        parameters: Mapping[str, Any],
        blocks: Sequence[str | nn.Module] | None,
        ranks: Ranks,
    ) -> None:
        """Choose the layers, check the model, the arguments and the hosts, and read the batches.

        `prune_` describes the arguments.
        """
        self._model = model
        self.ranks = ranks
        ranks.together(partial(self._choose, client, parameters, blocks))
        self._require_agreement(validation)
        ranks.together(lambda: require_hosts(self._client, self._queries.values()))
        self._batches = read_batches(batches, validation, ranks)
        if self._options.reconstruct:
            windows = windows_per_batch(ranks)
            self._batches = [part for batch in self._batches for part in batch.split(windows)]
        self.written: dict[str, Layer] = {}
        """The layers whose weights were replaced in the model, by name."""
        self._journal: Journal | None = None
        self._is_journaled = False
        self._tracker: Tracker | None = None
        self._is_tracked = False
        self._capture_seconds = 0.0

    def _choose(
        self,
        client: LayerClient | Sequence[Pare],
        parameters: Mapping[str, Any],
        blocks: Sequence[str | nn.Module] | None,
    ) -> None:
        """Find the blocks, and choose the layers and their parameters."""
        model = self._model
        options, query = RunOptions.split(parameters)
        self._query = layer_query(query)
        # The recorder weighs the tokens, so the hosts get statistics that are sums already.
        self._token_weights: TokenWeights = self._query["token_weights"]
        sent = {name: value for name, value in self._query.items() if name != "token_weights"}
        self._options = options
        self._client = combine_clients(client)
        self.blocks = find_blocks(model, blocks)
        self.all_layers = linear_layers(model, self.blocks)
        require_dense(self.all_layers)
        matrices = matrix_names(model)
        chosen = choose_layers(self.all_layers, options.layers, options.ignore, options.rules(), matrices)
        self.layers = list(chosen)
        require_unpruned(model, self.layers)
        self._allocation = allocation_request(options.allocate, chosen, self._query)
        queries = {layer: merge_parameters(sent, parameters) for layer, parameters in chosen.items()}
        options.require_possible(queries, is_sharded=is_sharded(model))
        self._queries = {layer.name: cast("LayerQuery", query) for layer, query in queries.items()}
        others = matrices_outside(model, self.blocks, self.all_layers)
        if others and self.ranks.index == 0:
            warnings.warn(
                f"prune_: leaves {list_names(others)} dense, because they are not weights of linear layers",
                stacklevel=5,
            )
        self._skipped = [layer.weight_name for layer in self.all_layers if layer not in chosen] + others

    def _require_agreement(self, validation: Validation) -> None:
        """Raise a ValueError on every rank if one of them prunes another model or has other arguments."""
        if self.ranks.count == 1:
            return
        share = {} if is_iterable(validation) else {"validation": validation}
        names = [layer.name for layer in self.layers]
        facts = parameter_facts({**self._query, **self._options.fingerprint(), **share}, names)
        require_same(self.ranks, {**facts, **self.ranks.together(partial(weight_facts, self._model))})

    def open_journal(
        self, folder: str | Path | None, model_digest: Callable[[], str], stack: ExitStack
    ) -> None:
        """Open the journal on rank 0 until `stack` is closed, as `Journal`. Without a folder, do nothing.

        Only the folder of rank 0 counts.
        """
        self._is_journaled = self.ranks.share(folder is not None, 0)
        if not self._is_journaled:
            return
        fingerprint = run_fingerprint(
            model=self.ranks.together(model_digest),
            batches=self._batches,
            layers=self.layers,
            query={**self._query, **self._options.fingerprint()},
            device=self.layers[0].device,
            ranks=self.ranks,
        )

        def open_on_first_rank() -> Journal | None:
            if self.ranks.index > 0 or folder is None:
                return None
            path = as_path(folder, "journal")
            if is_remote(path):
                raise ValueError(f"journal: must be a folder on a disk, not {path}")
            return stack.enter_context(Journal(path, fingerprint))

        self._journal = self.ranks.together(open_on_first_rank)

    def start_tracker(self, tracker: Tracker | None) -> None:
        """Give the parameters of the run to the tracker of rank 0, which then gets all its results."""
        self._tracker = tracker if self.ranks.index == 0 else None
        self._is_tracked = self.ranks.share(tracker is not None, 0)
        self._track("on_start", self._reported_parameters())

    def _track(self, event: str, value: object) -> None:
        """Call a method of the tracker. Its error ends the run on every rank."""
        if self._is_tracked:
            self.ranks.together(
                lambda: getattr(self._tracker, event)(value) if self._tracker is not None else None
            )

    def capture(self, states_device: torch.device) -> HiddenStates | None:
        """Run the model up to its first block. Return None without batches, if the run needs none."""
        fitted = sum(not batch.is_held_out for batch in self._batches)
        if not any(self.ranks.collect(fitted)):
            users = [f"{name}={value!r}" for name, value in self._options.needing_batches().items()]
            users += [
                f"the method {query['method']}"
                for query in self._queries.values()
                if not needs_no_statistics(query)
            ]
            if not users:
                return None
            raise ValueError(f"batches: {users[0]} needs at least one batch, got none")
        started = time.perf_counter()
        capture = Capture(self.blocks, states_device)
        hidden = HiddenStates(*capture.run(self._model, self._batches, self.ranks))
        self._capture_seconds = time.perf_counter() - started
        return hidden

    def prune(
        self,
        hidden: HiddenStates | None,
        store: BlockStore,
        *,
        progress: bool,
        on_layer: Callable[[LayerResult], None] | None = None,
        name: str | None = None,
    ) -> PruneReport:
        """Prune all layers. `name` is the name of the model in the report."""
        solver = BlockSolver(
            self._client, self._queries, self.ranks, self._journal, self._is_journaled, written=self.written
        )
        allocation = self._allocate(hidden, store, solver) if hidden and self._allocation else None
        reconstruction = unrounded = None
        if self._options.reconstruct:
            rounded = self._rounded_last()
            reconstruction = BlockReconstruction(
                self._options.reconstruct, self._batches, self.ranks, self._journal, rounded
            )
            unrounded = replace(
                solver, queries=self._mapped(rounded, without_rounding), journal=None, is_journaled=False
            )
            chosen_by = {name: self._queries[name]["method"] for name in rounded}
            solver = replace(solver, queries=self._mapped(rounded, only_rounding), chosen_by=chosen_by)
        is_observed = any(self.ranks.collect(on_layer is not None))
        with progress_bar(len(self.layers), is_shown=progress and self.ranks.index == 0) as advance:

            def report_layer(result: LayerResult) -> None:
                advance(result)
                if is_observed:
                    self.ranks.together(lambda: on_layer(result) if on_layer is not None else None)
                self._track("on_layer", result)

            results = BlockLoop(
                blocks=self.blocks,
                layers=self.layers,
                batches=self._batches,
                hidden=hidden,
                solver=solver,
                ranks=self.ranks,
                store=store,
                on_layer=report_layer,
                true_sequential=self._options.true_sequential,
                has_targets=self._options.target == "dense",
                reconstruction=reconstruction,
                unrounded=unrounded,
                token_weights=self._token_weights,
                calibration_seconds=self._capture_seconds,
            ).run()
        facts = self._facts(name, allocation)
        report = PruneReport(results, facts, reconstruction.results if reconstruction else {})
        if self.ranks.index == 0 and (starved := report.starved):
            warnings.warn(f"prune_: {starved_text(starved)}", stacklevel=3)
        self._track("on_report", report)
        return report

    def _facts(self, name: str | None, allocation: Allocation | None) -> RunFacts:
        """Collect the facts about the run for its report. Every rank has to call this method."""
        model = self._model
        config: Any = getattr(model, "config", None)
        text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
        own = [(*batch.shape, batch.is_held_out) for batch in self._batches]
        every = [each for share in self.ranks.collect(own) for each in share]
        tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
        return RunFacts(
            model_name=name or Path(getattr(config, "_name_or_path", "")).name or type(model).__name__,
            model_type=getattr(config, "model_type", type(model).__name__),
            blocks=len(self.blocks),
            hidden_size=getattr(text_config, "hidden_size", 0),
            parameters=self._reported_parameters(),
            samples=sum(windows for windows, _, _ in every),
            validation_samples=sum(windows for windows, _, is_held_out in every if is_held_out),
            seqlen=max((tokens for _, tokens, _ in every), default=0),
            skipped=self._skipped,
            model_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
            resumed=self.ranks.share(self._journal.resumed if self._journal else 0, 0),
            allocation=asdict(allocation) if allocation else None,
        )

    def _reported_parameters(self) -> dict[str, Any]:
        return {**resolved_parameters(self._query), **self._options.reported()}

    def _rounded_last(self) -> set[str]:
        """Return the names of all layers in blocks that have a layer with `bits`."""
        blocks = {
            layer.block.index for layer in self.layers if self._queries[layer.name].get("bits") is not None
        }
        return {layer.name for layer in self.layers if layer.block.index in blocks}

    def _mapped(
        self, names: Collection[str], change: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> dict[str, LayerQuery]:
        """Return the parameters of all layers, with `change` applied to the layers `names`."""
        return {
            name: cast("LayerQuery", change(query)) if name in names else query
            for name, query in self._queries.items()
        }

    def _allocate(self, hidden: HiddenStates, store: BlockStore, solver: BlockSolver) -> Allocation:
        """Choose the sparsities of the layers, or read them from the journal."""
        assert self._allocation
        started = time.perf_counter()
        allocation = self.ranks.share(self._journal.allocation if self._journal else None, 0)
        if allocation is None:
            dense = DensePass(self.blocks, self._batches, hidden, store, self.ranks, self._token_weights)
            allocation = self._allocation.allocate(dense, solver)
            if self._journal:
                self._journal.record_allocation(allocation)
        for layer in self._allocation.layers:
            self._queries[layer.name]["sparsity"] = allocation.sparsities[layer.weight_name]
        self._capture_seconds += time.perf_counter() - started
        return allocation
