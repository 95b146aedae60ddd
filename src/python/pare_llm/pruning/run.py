"""Prunes the blocks of a model one after the other, as published with SparseGPT (arXiv 2301.00774)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from pare_llm.checkpoints.remote import as_path, is_remote
from pare_llm.pruning.allocation.dense_pass import DensePass
from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.calibration.block_states import BlockStates
from pare_llm.pruning.calibration.capture import Capture
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.journal import Journal
from pare_llm.pruning.model.blocks import Block, BlockStore
from pare_llm.pruning.model.layers import Layer, by_block
from pare_llm.pruning.parameters import only_rounding, without_rounding
from pare_llm.pruning.progress_bar import progress_bar
from pare_llm.pruning.prune_report import Allocation, LayerResult, PruneReport
from pare_llm.pruning.reconstruction.reconstruct import BlockReconstruction
from pare_llm.pruning.report_views import starved_text
from pare_llm.pruning.run_plan import RunPlan

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery
    from pare_llm.pruning.trackers.tracker import Tracker


class PruneRun:
    """One run. On several ranks, every rank calls the methods in the same order, on its own batches."""

    def __init__(
        self,
        plan: RunPlan,
        store: BlockStore,
        stack: ExitStack,
        *,
        journal: str | Path | None,
        model_digest: Callable[[], str],
        tracker: Tracker | None,
        on_layer: Callable[[LayerResult], None] | None,
    ) -> None:
        """Open the journal until `stack` is closed, and give the parameters of the run to the tracker.

        Only the journal and the tracker of rank 0 count. `on_layer` is called on every rank.
        """
        self._plan, self._ranks, self._store = plan, plan.ranks, store
        self._on_layer, self._is_observed = on_layer, any(plan.ranks.collect(on_layer is not None))
        self._is_journaled = plan.ranks.share(journal is not None, 0)
        self._journal = self._open_journal(journal, model_digest, stack) if self._is_journaled else None
        self._tracker = tracker if plan.ranks.index == 0 else None
        self._is_tracked = plan.ranks.share(tracker is not None, 0)
        self._track("on_start", plan.reported_parameters())
        self._solver = BlockSolver(plan.client, plan.queries, plan.ranks, self._journal, self._is_journaled)
        self.written = self._solver.written
        """The layers whose weights were replaced in the model, by name."""
        self._training = BlockReconstruction(plan.options.reconstruct, plan.ranks, self._journal)

    def _open_journal(
        self, folder: str | Path | None, model_digest: Callable[[], str], stack: ExitStack
    ) -> Journal | None:
        fingerprint = self._plan.fingerprint(self._ranks.together(model_digest))

        def open_on_first_rank() -> Journal | None:
            if self._ranks.index > 0 or folder is None:
                return None
            path = as_path(folder, "journal")
            if is_remote(path):
                raise ValueError(f"journal: must be a folder on a disk, not {path}")
            return stack.enter_context(Journal(path, fingerprint))

        return self._ranks.together(open_on_first_rank)

    def capture(self, device: torch.device | str) -> BlockStates:
        """Run the model up to its first block. The hidden states are stored on `device`."""
        plan, started = self._plan, time.perf_counter()
        hidden: HiddenStates | None = None
        if plan.has_batches():
            captured = Capture(plan.blocks, torch.device(device)).run(plan.model, plan.batches, self._ranks)
            hidden = HiddenStates(plan.batches, self._ranks, *captured)
        dense = hidden.copy() if hidden and plan.options.target == "dense" else None
        return BlockStates(hidden, dense, plan.token_weights, time.perf_counter() - started)

    def prune(self, states: BlockStates, *, progress: bool, name: str | None = None) -> PruneReport:
        """Prune all layers, block by block. `name` is the name of the model in the report."""
        plan, ranks, store = self._plan, self._ranks, self._store
        allocation = self._allocate(states)
        self._divide_solver()
        layers = by_block(plan.layers)
        last_block = max(layers)
        results: dict[str, LayerResult] = {}
        with progress_bar(len(plan.layers), is_shown=progress and ranks.index == 0) as advance:

            def report_layer(result: LayerResult) -> None:
                results[result.name] = result
                advance(result)
                if self._is_observed:
                    ranks.together(lambda: self._on_layer(result) if self._on_layer is not None else None)
                self._track("on_layer", result)

            for block in plan.blocks[: last_block + 1]:
                chosen = layers.get(block.index, [])
                if states.hidden is None and not chosen:
                    continue
                ranks.together(partial(store.load, block))
                changed = self._prune_block(states, block, chosen, report_layer)
                if block.index < last_block:
                    states.advance(block)
                ranks.together(partial(store.save, block, changed))
                del changed  # which would keep the block in memory while the next one is loaded
        facts = plan.facts(name, allocation, ranks.share(self._journal.resumed if self._journal else 0, 0))
        report = PruneReport([results[layer.name] for layer in plan.layers], facts, self._training.results)
        if ranks.index == 0 and (starved := report.starved):
            warnings.warn(f"prune_: {starved_text(starved)}", stacklevel=3)
        self._track("on_report", report)
        return report

    def _prune_block(
        self, states: BlockStates, block: Block, layers: list[Layer], report: Callable[[LayerResult], None]
    ) -> list[nn.Parameter]:
        """Solve the layers of a block, train what is left of it, and return its changed parameters.

        If a layer has `bits`, the layers are solved without rounding before the training. After it they are
        rounded without targets, because trained layers make up for the errors of earlier layers already.
        """
        training, options = self._training, self._plan.options
        rounds_last = any(layer.name in self._solver.chosen_by for layer in layers)
        is_trained = training.epochs > 0 and bool(layers)
        is_untrained = is_trained and not (
            training.is_finished(block)
            # The damaged file of a rounded layer is replaced by training the block again.
            and (not rounds_last or len(self._solver.finished_layers(layers)) == len(layers))
        )
        example = states.example(block) if is_untrained else None
        stages = states.stages(block, layers) if options.true_sequential else [layers]
        own = [] if rounds_last else layers  # whose weights the training decides
        changed = [layer.linear.parameter for layer in layers]
        if example and rounds_last:
            # The time of these solves counts for the first layer that is recorded.
            solved = list(self._solve(states, block, stages, self._unrounded))
            states.seconds += sum(each.calibration_seconds + each.seconds for each in solved)
            changed += training.train(block, layers, *example)
        for result in self._solve(states, block, stages, self._solver, not (example and rounds_last)):
            report(result)
        if example:
            if not rounds_last:
                changed += training.train(block, layers, *example)
            training.record(block, own)
        elif is_trained:
            changed += training.restore(block, own)
        return changed

    def _solve(
        self,
        states: BlockStates,
        block: Block,
        stages: Sequence[Sequence[Layer]],
        solver: BlockSolver,
        has_targets: bool = True,
    ) -> Iterator[LayerResult]:
        """Yield the results of the layers of a block, each after the weight was replaced.

        The statistics of a stage are collected after the layers of the earlier stages were solved. With
        `has_targets`, the layers have the targets of the run, if it has some.
        """
        for layers in stages:
            finished = solver.finished_layers(layers)
            pending = [layer for layer in layers if layer.name not in finished]
            own = solver.own_layers(pending)
            # No variable holds the statistics of a stage while the next stage is calibrated.
            measure = partial(states.error, block) if has_targets and states.decides_targets() else None
            yield from solver.solve(
                layers,
                finished,
                *states.collect(block, pending, own, solver.client, has_targets),
                states.take_seconds(),
                measure,
            )

    def _divide_solver(self) -> None:
        """Make the two solvers of the layers that are solved without rounding first, and rounded later."""
        queries, rounded = self._plan.queries, self._plan.rounded_last()

        def changed(change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, LayerQuery]:
            return queries | {name: cast("LayerQuery", change(queries[name])) for name in rounded}

        self._unrounded = replace(
            self._solver, queries=changed(without_rounding), journal=None, is_journaled=False
        )
        chosen_by = {name: queries[name]["method"] for name in rounded}
        self._solver = replace(self._solver, queries=changed(only_rounding), chosen_by=chosen_by)

    def _allocate(self, states: BlockStates) -> Allocation | None:
        """Choose the sparsities of the layers, or read them from the journal."""
        request = self._plan.allocation
        if not request or not states.hidden:
            return None
        with states.timed():
            allocation = self._ranks.share(self._journal.allocation if self._journal else None, 0)
            if allocation is None:
                dense = DensePass(self._plan.blocks, states.hidden, self._store, states.token_weights)
                allocation = request.allocate(dense, self._solver)
                if self._journal:
                    self._journal.record_allocation(allocation)
        for layer in request.layers:
            self._plan.queries[layer.name]["sparsity"] = allocation.sparsities[layer.weight_name]
        return allocation

    def _track(self, event: str, value: object) -> None:
        """Call a method of the tracker. Its error ends the run on every rank."""
        if self._is_tracked:
            self._ranks.together(
                lambda: getattr(self._tracker, event)(value) if self._tracker is not None else None
            )
