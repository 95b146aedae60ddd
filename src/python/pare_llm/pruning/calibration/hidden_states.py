"""The hidden states of all calibration batches, which move forward through the model block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.calls import BlockCall, output_states
from pare_llm.pruning.calibration.capture import inference
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.sharding import call_module, gathered
from pare_llm.pruning.ranks import Ranks


class HiddenStates:
    """The inputs of one block at a time. They are moved to the device of the block for its forward pass.

    Each rank has the hidden states of its own batches.
    """

    def __init__(
        self, batches: Sequence[Batch], ranks: Ranks, states: list[Tensor], calls: list[list[BlockCall]]
    ) -> None:
        """Begin at the first block. `Capture.run` returns `states` and `calls` for the batches."""
        self.batches = batches
        self.ranks = ranks
        self._states = states
        self._calls = calls

    def observe(
        self,
        block: Block,
        watch: Callable[[int], AbstractContextManager[object]],
        limit: int | None = None,
    ) -> None:
        """Run `block` on all batches and drop its outputs. Its inputs remain the current hidden states.

        The forward pass of each batch runs inside the context that `watch` returns for its index. With
        `limit`, each rank runs only its first `limit` batches. Every rank has to call this method.
        """

        def run() -> None:
            with inference(block.module):
                for index in range(len(self._calls))[:limit]:
                    with watch(index):
                        self.outputs(block, index)

        with gathered(block.module):
            self.ranks.together(run)

    def copy(self) -> HiddenStates:
        """Return hidden states that begin at the same block and advance independently of these."""
        return HiddenStates(self.batches, self.ranks, list(self._states), self._calls)

    def advance(self, block: Block) -> None:
        """Run `block` on all batches. Its outputs become the current hidden states.

        Every rank has to call this method.
        """

        def run() -> None:
            for index in range(len(self._calls)):
                self.advance_batch(block, index)

        with gathered(block.module):
            self.ranks.together(run)

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
