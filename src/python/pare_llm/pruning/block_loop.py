"""Prunes the blocks of a model one after the other, as published with SparseGPT (arXiv 2301.00774).

For each block, a forward pass of all calibration batches records the Hessians of its layers. The layers are
solved at the hosts, and their weights are replaced in place. If asked for, what is left of the block is then
trained. A second forward pass through the pruned block computes the inputs of the next block. With targets,
a second stream of hidden states runs through the dense blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.block_error import has_held_out, mean_error, token_errors
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.calibration.record_hessians import find_stages, pack_hessians, record_hessians
from pare_llm.pruning.calibration.target_statistics import LayerTarget, TargetStatistics
from pare_llm.pruning.input_statistics import InputStatistics
from pare_llm.pruning.model.blocks import Block, BlockStore
from pare_llm.pruning.model.layers import Layer, by_block
from pare_llm.pruning.model.sharding import gathered
from pare_llm.pruning.prune_report import LayerResult
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.reconstruction.reconstruct import BlockReconstruction
from pare_llm.statistics.hessian import TokenWeights


@dataclass
class BlockLoop:
    """The pruning of one model. Every rank runs the same loop, on its own batches."""

    blocks: Sequence[Block]
    layers: Sequence[Layer]
    """The layers to prune, in the order of the model."""
    batches: Sequence[Batch]
    hidden: HiddenStates | None
    """The inputs of the first block. None if the method needs no statistics."""
    solver: BlockSolver
    ranks: Ranks
    store: BlockStore
    on_layer: Callable[[LayerResult], None]
    """Called after each layer."""
    token_weights: TokenWeights
    """How much each token counts in the statistics."""
    true_sequential: bool = False
    """Whether the layers of a block are calibrated in stages, each after the stages before it were pruned."""
    has_targets: bool = False
    """Whether each layer gets a target, which `TargetStatistics` describes."""
    reconstruction: BlockReconstruction | None = None
    """Trains each block with pruned layers."""
    unrounded: BlockSolver | None = None
    """Solves layers before their block is trained, if they are rounded after it. It has no journal."""
    calibration_seconds: float = 0
    """The seconds of forward passes since the last layer."""

    def run(self) -> list[LayerResult]:
        """Prune all layers and return their results, in the order of the model."""
        layers = by_block(self.layers)
        last_block = max(layers)
        results: list[LayerResult] = []
        dense = self.hidden.copy() if self.hidden and self.has_targets else None
        for block in self.blocks[: last_block + 1]:
            chosen = layers.get(block.index, [])
            if self.hidden is None and not chosen:
                continue
            self.ranks.together(partial(self.store.load, block))
            reconstruction = self.reconstruction if chosen else None
            trains_first = reconstruction is not None and reconstruction.rounds_last(chosen)
            is_untrained = reconstruction is not None and not (
                reconstruction.is_finished(block)
                # The damaged file of a rounded layer is replaced by training the block again.
                and (not trains_first or len(self.solver.finished_layers(chosen)) == len(chosen))
            )
            trains_first = trains_first and is_untrained
            # The outputs of the dense block. The dense stream has them after the layers were calibrated.
            outputs = dense or (self._dense_outputs(block) if is_untrained else None)
            changed = [layer.linear.parameter for layer in chosen]
            stages = self._stages(block, chosen)
            if trains_first and reconstruction and self.hidden and outputs:
                self._solve_unrounded(block, stages, dense)
                changed += reconstruction.train(block, chosen, self.hidden, outputs)
            for stage in stages:
                # Trained layers make up for the errors of earlier layers already, so they have no targets.
                for result in self._prune_stage(block, stage, None if trains_first else dense, self.solver):
                    results.append(result)
                    self.on_layer(result)
            if reconstruction and is_untrained and self.hidden and outputs:
                if not trains_first:
                    changed += reconstruction.train(block, chosen, self.hidden, outputs)
                reconstruction.record(block, chosen)
            elif reconstruction:
                changed += reconstruction.restore(block, chosen)
            if self.hidden and block.index < last_block:
                self._advance(self.hidden, block)
            self.ranks.together(partial(self.store.save, block, changed))
            del changed  # which would keep the block in memory while the next one is loaded
        positions = {layer.name: position for position, layer in enumerate(self.layers)}
        return sorted(results, key=lambda result: positions[result.name])

    def _stages(self, block: Block, layers: list[Layer]) -> list[list[Layer]]:
        if self.hidden is None or not self.true_sequential or not layers:
            return [layers]
        with self._timed():
            return find_stages(block, layers, self.hidden, self.ranks)

    def _dense_outputs(self, block: Block) -> HiddenStates | None:
        """Return the outputs of a block that is still dense, for the inputs that the pruned blocks give."""
        outputs = self.hidden.copy() if self.hidden else None
        if outputs:
            self._advance(outputs, block)
        return outputs

    def _advance(self, states: HiddenStates, block: Block) -> None:
        with self._timed(), gathered(block.module):
            self.ranks.together(partial(states.advance, block))

    def _solve_unrounded(
        self, block: Block, stages: Sequence[Sequence[Layer]], dense: HiddenStates | None
    ) -> None:
        """Solve layers that are rounded later. Their time counts for the first layer that is recorded."""
        assert self.unrounded
        seconds = 0.0
        for stage in stages:
            for result in self._prune_stage(block, stage, dense, self.unrounded):
                seconds += result.calibration_seconds + result.seconds
        self.calibration_seconds += seconds

    def _prune_stage(
        self, block: Block, layers: Sequence[Layer], dense: HiddenStates | None, solver: BlockSolver
    ) -> Iterator[LayerResult]:
        """Yield the results of some layers of a block. Their weights have been replaced.

        `dense` are the inputs of the block in the dense model, which become its outputs.
        """
        finished = solver.finished_layers(layers)
        pending = [layer for layer in layers if layer.name not in finished]
        statistics: dict[str, InputStatistics] = {}
        targets: dict[str, LayerTarget] = {}
        if self.hidden and pending:
            with self._timed():
                sums = (
                    TargetStatistics(block, pending, dense, self.batches, self.token_weights)
                    if dense
                    else None
                )
                recorder = record_hessians(
                    block,
                    pending,
                    self.hidden,
                    self.batches,
                    self.ranks,
                    self.token_weights,
                    sums,
                )
                own = solver.own_layers(pending)
                targets = sums.targets(self.ranks, own) if sums else {}
                statistics = pack_hessians(recorder, own, solver.client)
            del recorder, sums  # which still have the sums that other ranks use
        elif dense:
            self._advance(dense, block)
        seconds, self.calibration_seconds = self.calibration_seconds, 0
        measure = None
        if dense and has_held_out(self.batches, self.ranks):
            measure = partial(self._error, block, dense)
        yield from solver.solve(layers, finished, statistics, seconds, targets, measure)

    def _error(self, block: Block, dense: HiddenStates) -> float:
        """Return the error of the outputs of a block on held-out batches. `dense` has the wanted outputs."""
        hidden = self.hidden
        assert hidden

        def errors_of(index: int) -> Tensor:
            wanted, padding = dense.states(index), self.batches[index].padding
            return token_errors(block, hidden.outputs(block, index), wanted, padding)

        with self._timed(), gathered(block.module):
            return mean_error(block, self.batches, self.ranks, errors_of)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Add the seconds until the context ends to those of the calibration."""
        started = time.perf_counter()
        yield
        self.calibration_seconds += time.perf_counter() - started
