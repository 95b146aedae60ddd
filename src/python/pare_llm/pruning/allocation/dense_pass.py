"""A pass of all calibration batches through the dense model, which measures its layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.calibration.record_hessians import record_hessians
from pare_llm.pruning.model.blocks import Block, BlockStore
from pare_llm.pruning.model.layers import Layer, by_block
from pare_llm.statistics.hessian import TokenWeights
from pare_llm.statistics.recorder import HessianRecorder


@dataclass
class DensePass:
    """The blocks and their batches. Every rank has to use them in the same order."""

    blocks: Sequence[Block]
    hidden: HiddenStates
    """The inputs of the first block, which stay as they are."""
    store: BlockStore
    token_weights: TokenWeights

    def record(self, layers: Sequence[Layer]) -> Iterator[tuple[list[Layer], HessianRecorder]]:
        """Yield the given layers of each block with their Hessians. Meanwhile their weights are in memory."""
        of_block = by_block(layers)
        hidden = self.hidden.copy()
        for block in self.blocks[: max(of_block) + 1]:
            hidden.ranks.together(partial(self.store.load, block))
            if pending := of_block.get(block.index):
                yield pending, record_hessians(block, pending, hidden, self.token_weights)
            if block.index < max(of_block):
                hidden.advance(block)
            hidden.ranks.together(partial(self.store.free, block))
