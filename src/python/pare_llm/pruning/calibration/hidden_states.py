"""The hidden states of all calibration batches, which move forward through the model block by block."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pare_llm.pruning.calibration.calls import BlockCall, output_states
from pare_llm.pruning.calibration.capture import inference
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.sharding import call_module


class HiddenStates:
    """The inputs of one block at a time. They are moved to the device of the block for its forward pass."""

    def __init__(self, states: list[Tensor], calls: list[list[BlockCall]]) -> None:
        """Begin at the first block. `Capture.run` returns `states` and `calls`."""
        self._states = states
        self._calls = calls

    def observe(self, block: Block, watch: Callable[[int], AbstractContextManager[object]]) -> None:
        """Run `block` on all batches and drop its outputs. Its inputs remain the current hidden states.

        The forward pass of each batch runs inside the context that `watch` returns for its index.
        """
        with inference(block.module):
            for index in range(len(self._calls)):
                with watch(index):
                    self.outputs(block, index)

    def observe_first(self, block: Block) -> None:
        """Run `block` on the first batch of this rank, if there is one, and drop its outputs."""
        HiddenStates(self._states[:1], self._calls[:1]).observe(block, lambda _: nullcontext())

    def copy(self) -> "HiddenStates":
        """Return hidden states that begin at the same block and advance independently of these."""
        return HiddenStates(list(self._states), self._calls)

    def advance(self, block: Block) -> None:
        """Run `block` on all batches. Its outputs become the current hidden states."""
        for index in range(len(self._calls)):
            self.advance_batch(block, index)

    def advance_batch(self, block: Block, index: int) -> None:
        """Run `block` on one batch. Its outputs become the current hidden states of this batch."""
        with inference(block.module):
            self._states[index] = self.outputs(block, index).to(self._states[index].device)

    def states(self, index: int) -> Tensor:
        """Return the current hidden states of one batch."""
        return self._states[index]

    def batch(self, block: Block, index: int) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
        """Return the hidden states of one batch, and all arguments of its call of `block`.

        They are on the device of the block.
        """
        states = self._states[index].to(device_of(block))
        return states, *self._calls[index][block.index].arguments(states)

    def outputs(self, block: Block, index: int) -> Tensor:
        """Run `block` on one batch. Its inputs remain the current hidden states."""
        _, args, kwargs = self.batch(block, index)
        return output_states(call_module(block.module, *args, **kwargs), block.name)


def device_of(block: Block) -> torch.device:
    """Return the device of the block's parameters."""
    return next((weight.device for weight in block.module.parameters()), torch.device("cpu"))
