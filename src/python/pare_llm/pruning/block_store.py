"""Where the weights of blocks are while no work is done on them."""

from typing import Protocol

from pare_llm.pruning.model.blocks import Block


class BlockStore(Protocol):
    """Loads the dense weights of a block before pruning, and stores the pruned weights afterwards."""

    def load(self, block: Block) -> None:
        """Load the dense weights of a block into its module. Idempotent until the block is saved."""

    def save(self, block: Block) -> None:
        """Store the weights of a block, whose module is not needed any more."""


class BlocksInMemory:
    """The blocks of a model that is in memory as a whole."""

    def load(self, block: Block) -> None:
        """Refuse a block without weights.

        Raises:
            ValueError: if a parameter of the block is on the meta device.
        """
        for name, parameter in block.module.named_parameters():
            if parameter.is_meta:
                raise ValueError(
                    f"{block.name}.{name}: is on the meta device; "
                    "prune a model that does not fit into memory with prune_folder"
                )

    def save(self, block: Block) -> None:
        """Leave the pruned weights in the model."""
