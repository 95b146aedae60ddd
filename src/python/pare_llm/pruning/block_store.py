"""Where the weights of blocks are while no work is done on them."""

from typing import Protocol

from pare_llm.pruning.model.blocks import Block


class BlockStore(Protocol):
    """Loads the dense weights of a block before pruning, and stores the pruned weights afterwards."""

    def load(self, block: Block) -> None:
        """Load the dense weights of a block into its module. Idempotent until the block is saved."""

    def save(self, block: Block) -> None:
        """Store the weights of a block, whose module is not needed any more."""

    def free(self, block: Block) -> None:
        """Free the dense weights of a block until they are loaded again. Idempotent."""


class BlocksInMemory:
    """The blocks of a model that is in memory as a whole."""

    def load(self, block: Block) -> None:
        """Do nothing, because the weights are in the model."""

    def save(self, block: Block) -> None:
        """Leave the pruned weights in the model."""

    def free(self, block: Block) -> None:
        """Leave the dense weights in the model."""
