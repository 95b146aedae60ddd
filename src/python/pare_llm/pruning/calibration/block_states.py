"""The hidden states of a run, and what they are used for in each block."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from pare_llm.pruning.calibration.block_error import has_held_out, mean_error, token_errors
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.calibration.record_hessians import find_stages, pack_hessians, record_hessians
from pare_llm.pruning.calibration.target_statistics import LayerTarget, TargetStatistics
from pare_llm.pruning.input_statistics import InputStatistics
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.model.sharding import gathered
from pare_llm.statistics.hessian import TokenWeights


@dataclass
class BlockStates:
    """The inputs of one block at a time. Every rank calls the methods in the same order."""

    hidden: HiddenStates | None
    """The inputs of the block in the pruned model. None if the run needs no statistics."""
    dense: HiddenStates | None
    """The inputs of the block in the dense model, if the layers have targets. `collect` advances them."""
    token_weights: TokenWeights
    """How much each token counts in the statistics."""
    seconds: float
    """The seconds of forward passes since the last layer."""

    def stages(self, block: Block, layers: list[Layer]) -> list[list[Layer]]:
        """Return the layers of a block in the stages of `find_stages`, or in one stage without statistics."""
        if self.hidden is None or not layers:
            return [layers]
        with self.timed():
            return find_stages(block, layers, self.hidden)

    def collect(
        self,
        block: Block,
        layers: Sequence[Layer],
        own: Sequence[Layer],
        client: LayerClient,
        has_targets: bool,
    ) -> tuple[dict[str, InputStatistics], dict[str, LayerTarget]]:
        """Return the statistics and the targets of the layers `own`, by the names of the layers.

        `layers` are the layers that all ranks solve. With `has_targets`, `dense` becomes the outputs of the
        dense block.
        """
        dense = self.dense if has_targets else None
        if not (self.hidden and layers):
            if dense:
                self._advance(dense, block)
            return {}, {}
        with self.timed():
            sums = TargetStatistics(block, layers, dense, self.token_weights) if dense else None
            recorder = record_hessians(block, layers, self.hidden, self.token_weights, sums)
            targets = sums.targets(own) if sums else {}
            return pack_hessians(recorder, own, client), targets

    def example(self, block: Block) -> tuple[HiddenStates, HiddenStates]:
        """Return the inputs of a block that is still dense, and the outputs that it should have for them.

        With targets, the outputs are the dense states after `collect` has advanced them. Otherwise they are
        the outputs of the dense block for the inputs of the pruned model.
        """
        assert self.hidden
        outputs = self.dense or self.hidden.copy()
        if not self.dense:
            self._advance(outputs, block)
        return self.hidden, outputs

    def decides_targets(self) -> bool:
        """Return whether held-out windows decide between solutions with targets and without."""
        return self.dense is not None and has_held_out(self.dense)

    def error(self, block: Block) -> float:
        """Return the error of the outputs of a block on the held-out batches, after `collect`."""
        hidden, dense = self.hidden, self.dense
        assert hidden
        assert dense

        def errors_of(index: int) -> Tensor:
            outputs, padding = hidden.outputs(block, index), hidden.batches[index].padding
            return token_errors(block, outputs, dense.states(index), padding)

        with self.timed(), gathered(block.module):
            return mean_error(block, hidden, errors_of)

    def advance(self, block: Block) -> None:
        """Run the windows through the pruned block."""
        if self.hidden:
            self._advance(self.hidden, block)

    def _advance(self, hidden: HiddenStates, block: Block) -> None:
        with self.timed():
            hidden.advance(block)

    def take_seconds(self) -> float:
        """Return the seconds of forward passes since the last call."""
        seconds, self.seconds = self.seconds, 0
        return seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the seconds until the context ends to the calibration."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
