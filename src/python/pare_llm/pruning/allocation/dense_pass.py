"""A pass of all calibration batches through the dense model, which measures its layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.calibration.record_hessians import record_hessians
from pare_llm.pruning.model.blocks import Block, BlockStore
from pare_llm.pruning.model.layers import Layer, by_block
from pare_llm.pruning.model.sharding import gathered
from pare_llm.pruning.ranks import Ranks
from pare_llm.statistics.hessian import TokenWeights
from pare_llm.statistics.recorder import HessianRecorder


@dataclass
class DensePass:
    """The blocks and their batches. Every rank has to use them in the same order."""

    blocks: Sequence[Block]
    batches: Sequence[Batch]
    hidden: HiddenStates
    """The inputs of the first block, which stay as they are."""
    store: BlockStore
    ranks: Ranks
    token_weights: TokenWeights

    def record(self, layers: Sequence[Layer]) -> Iterator[tuple[list[Layer], HessianRecorder]]:
        """Yield the given layers of each block with their Hessians. Meanwhile their weights are in memory."""
        of_block = by_block(layers)
        hidden = self.hidden.copy()
        for block in self.blocks[: max(of_block) + 1]:
            self.ranks.together(partial(self.store.load, block))
            if pending := of_block.get(block.index):
                yield (
                    pending,
                    record_hessians(block, pending, hidden, self.batches, self.ranks, self.token_weights),
                )
            if block.index < max(of_block):
                with gathered(block.module):
                    self.ranks.together(partial(hidden.advance, block))
            self.ranks.together(partial(self.store.free, block))
