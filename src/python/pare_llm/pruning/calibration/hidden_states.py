"""The hidden states of all calibration batches, which move forward through the model block by block."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.calls import BlockCall, output_states
from pare_llm.pruning.calibration.capture import Capture, inference
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.sharding import call_module
from pare_llm.pruning.ranks import Ranks


class HiddenStates:
    """The inputs of one block at a time. They are moved to the device of the block for its forward pass."""

    def __init__(self, states: list[Tensor], calls: list[list[BlockCall]]) -> None:
        """Begin at the first block. `states` and `calls` are those of `Capture`."""
        self._states = states
        self._calls = calls

    @classmethod
    def capture(
        cls,
        model: nn.Module,
        blocks: Sequence[Block],
        batches: Sequence[Batch],
        *,
        device: torch.device,
        ranks: Ranks,
    ) -> "HiddenStates":
        """Run the model up to its first block, and store the hidden states of all batches on `device`."""
        capture = Capture(blocks, device)
        capture.run(model, batches, ranks)
        return cls(capture.states, capture.calls)

    def observe(self, block: Block, before_batch: Callable[[int], None]) -> None:
        """Run `block` on all batches and drop its outputs. Its inputs remain the current hidden states."""
        self._run(block, before_batch, keep_outputs=False)

    def observe_first(self, block: Block) -> None:
        """Run `block` on the first batch of this rank, if there is one, and drop its outputs."""
        HiddenStates(self._states[:1], self._calls[:1]).observe(block, lambda _: None)

    def copy(self) -> "HiddenStates":
        """Return hidden states that begin at the same block and advance independently of these."""
        return HiddenStates(list(self._states), self._calls)

    def advance(self, block: Block) -> None:
        """Run `block` on all batches. Its outputs become the current hidden states."""
        self._run(block, lambda _: None, keep_outputs=True)

    def _run(self, block: Block, before_batch: Callable[[int], None], *, keep_outputs: bool) -> None:
        device = _device_of(block)
        with inference(block.module):
            for index, calls in enumerate(self._calls):
                before_batch(index)
                args, kwargs = calls[block.index].arguments(self._states[index].to(device))
                outputs = output_states(call_module(block.module, *args, **kwargs), block.name)
                if keep_outputs:
                    self._states[index] = outputs.to(self._states[index].device)


def _device_of(block: Block) -> torch.device:
    return next((weight.device for weight in block.module.parameters()), torch.device("cpu"))
