"""Reconstructs the pruned blocks of a model: trains what is left of each one, with the journal of the run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.journal import Journal
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.prune_report import Reconstruction
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.reconstruction.block_trainer import BlockTrainer, trained_parameters


@dataclass
class BlockReconstruction:
    """The reconstruction of one run. All ranks must call the methods in the same order."""

    epochs: int
    ranks: Ranks
    journal: Journal | None
    """The journal of the run, which only rank 0 has."""
    results: dict[int, Reconstruction] = field(default_factory=dict)
    """The results, by the index of the block."""

    def is_finished(self, block: Block) -> bool:
        """Return whether the journal has the trained parameters of a block."""
        journal = self.journal
        is_finished = self.ranks.together(lambda: bool(journal and journal.has_block(block.name)))
        return self.ranks.share(is_finished, 0)

    def train(
        self, block: Block, layers: Sequence[Layer], inputs: HiddenStates, wanted: HiddenStates
    ) -> list[nn.Parameter]:
        """Train a block whose `layers` are pruned, and return its trained parameters.

        `wanted` has the outputs that the block should have for `inputs`.
        """
        started = time.perf_counter()
        result, values = BlockTrainer(block, layers, inputs, wanted).train(self.epochs)
        result = replace(result, seconds=time.perf_counter() - started)
        return self._replace(block, layers, result, values)

    def record(self, block: Block, layers: Sequence[Layer]) -> None:
        """Record the trained parameters of a block: the weights of `layers`, the biases and the norms."""
        values, result = trained_parameters(block, layers), self.results[block.index]
        journal = self.journal
        self.ranks.together(lambda: journal.record_block(block.name, values, result) if journal else None)

    def restore(self, block: Block, layers: Sequence[Layer]) -> list[nn.Parameter]:
        """Replace the recorded parameters of a block by the values in the journal, which rank 0 reads."""
        journal = self.journal
        restored = self.ranks.together(lambda: journal.read_block(block.name) if journal else None)
        result, values = restored or (None, {})
        return self._replace(block, layers, result, values)

    def _replace(
        self,
        block: Block,
        layers: Sequence[Layer],
        result: Reconstruction | None,
        values: Mapping[str, Tensor],
    ) -> list[nn.Parameter]:
        """Give every rank the result and the parameters of rank 0."""
        shared = self.ranks.share(result, 0)
        assert shared
        self.results[block.index] = shared
        parameters = trained_parameters(block, layers)
        with torch.no_grad():
            for name, parameter in parameters.items():
                own = values[name] if name in values else torch.empty_like(parameter)
                parameter.copy_(self.ranks.share_tensor(own.to(parameter.device), 0))
        return list(parameters.values())
