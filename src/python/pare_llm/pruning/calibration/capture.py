"""Captures the hidden states before the first block, and the other arguments of every block, for each batch.

During the capture, stand-ins replace the blocks. A stand-in records its arguments and returns its hidden
states, so the forward pass of the model costs little. The last stand-in ends the forward pass. Before the
first stand-in returns for the first time, it runs its block once, because some blocks return a tensor and
others a tuple. If the tuple has more tensors, the block runs once for each batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.calls import BlockCall, TensorMover, output_states, split_call
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.sharded_operations import ShardedOperations
from pare_llm.pruning.model.sharding import DirectCall, call_module, gathered, replaced
from pare_llm.pruning.ranks import Ranks


class _LastBlockReachedError(Exception):
    """Ends a forward pass at the last block."""


class _StandIn(DirectCall):
    """Takes the place of a block while the arguments of the blocks are captured."""

    def __init__(
        self, block: Block, on_call: Callable[[Block, tuple[Any, ...], dict[str, Any]], Any]
    ) -> None:
        super().__init__(block.module)
        self.__dict__["on_call"] = lambda *args, **kwargs: on_call(block, args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Record the call."""
        return self.__dict__["on_call"](*args, **kwargs)


class Capture:
    """The hidden states before the first block, and the calls of all blocks."""

    def __init__(self, blocks: Sequence[Block], device: torch.device) -> None:
        """Capture the arguments of `blocks`, and store their tensors on `device`."""
        # The hidden states of each batch.
        self._states: list[Tensor] = []
        # For each batch, the calls of all blocks in their order.
        self._calls: list[list[BlockCall]] = []
        self._blocks = blocks
        self._device = device
        # Blocks of several classes may change the width of the hidden states, so each of them has to be run
        # once.
        self._must_run = len(blocks) if len({type(block.module) for block in blocks}) > 1 else 1
        # What the outputs of the blocks that were run have after the hidden states. None if the output is a
        # tensor.
        self._output_tails: list[tuple[Any, ...] | None] = []
        self._returned: Tensor | None = None
        self._mover = TensorMover(device)

    def run(
        self, model: nn.Module, batches: Sequence[Batch], ranks: Ranks
    ) -> tuple[list[Tensor], list[list[BlockCall]]]:
        """Run the model through its blocks, on every rank.

        Return the hidden states of each batch, and for each batch the calls of all blocks in their order.
        Raise a ValueError if the blocks do not form a chain.
        """
        stand_ins: dict[str, nn.Module] = {
            block.name: _StandIn(block, self._on_call) for block in self._blocks
        }
        self._operations = ShardedOperations(model, ranks)
        with inference(model), replaced(model, stand_ins):
            ranks.together(lambda: self._run_batches(model, batches))
        return self._states, self._calls

    def _run_batches(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        device = _input_device(model)
        with self._operations.running():
            for batch in batches:
                self._run_batch(model, batch.on(device))

    def _run_batch(self, model: nn.Module, batch: Batch) -> None:
        self._calls.append([])
        self._returned = None
        self._mover = TensorMover(self._device)
        try:
            call_module(model, *batch.args, **batch.kwargs)
        except _LastBlockReachedError:
            return
        missing = self._blocks[len(self._calls[-1])].name
        raise ValueError(f"{missing}: the forward pass of the model does not call this block")

    def _on_call(self, block: Block, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden, call = split_call(args, kwargs)
        calls = self._calls[-1]
        if block.index != len(calls):
            expected = self._blocks[len(calls)].name
            raise ValueError(f"{block.name}: was called where the block {expected} was expected")
        if block.index == 0:
            self._states.append(hidden.to(self._device))
        elif hidden is not self._returned:
            previous = self._blocks[block.index - 1].name
            raise ValueError(
                f"{block.name}: its input is not the output of {previous}, so the blocks do not form a chain"
            )
        calls.append(
            BlockCall(self._mover.move(call.args), self._mover.move(call.kwargs), call.is_positional)
        )
        if block.index == len(self._blocks) - 1:
            raise _LastBlockReachedError
        if block.index < self._must_run and self._needs_output(block.index):
            with gathered(block.module, self._operations.whole):
                output = call_module(block.module, *args, **kwargs)
            self._returned = output_states(output, block.name)
            tail = None if isinstance(output, Tensor) else tuple(output[1:])
            self._output_tails[block.index : block.index + 1] = [tail]
            return output
        self._returned = hidden
        tail = self._output_tails[min(block.index, self._must_run - 1)]
        return hidden if tail is None else (hidden, *tail)

    def _needs_output(self, index: int) -> bool:
        """Return whether the tail of a block's output is unknown, or has tensors, which depend on the batch.

        The blocks of T5, for example, pass the position bias on to the next block.
        """
        if index == len(self._output_tails):
            return True
        return any(isinstance(value, Tensor) for value in self._output_tails[index] or ())


def _input_device(model: nn.Module) -> torch.device:
    """Return the device of the token embeddings, or of the first parameter if the model has no embeddings."""
    get_embeddings = getattr(model, "get_input_embeddings", None)
    embeddings: nn.Module | None = get_embeddings() if callable(get_embeddings) else None
    candidates = [*(embeddings.parameters() if embeddings is not None else []), *model.parameters()]
    return next((weight.device for weight in candidates if not weight.is_meta), torch.device("cpu"))


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Switch the model to evaluation, and restore its state when the context ends."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    configs = _configs_with_cache(model)
    for config, _ in configs:
        config.use_cache = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in training.items():
            module.training = was_training
        for config, use_cache in configs:
            config.use_cache = use_cache


def _configs_with_cache(model: nn.Module) -> list[tuple[Any, Any]]:
    """Return the configurations in the model that say whether a cache is used, and what they say."""
    configs = {
        id(config): config for module in model.modules() if (config := getattr(module, "config", None))
    }
    return [(config, config.use_cache) for config in configs.values() if hasattr(config, "use_cache")]
