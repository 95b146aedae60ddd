"""The steps that pruning a model in memory and pruning a checkpoint folder have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pare_llm.pruning.block_loop import BlockLoop
from pare_llm.pruning.block_solver import BlockSolver
from pare_llm.pruning.block_store import BlockStore
from pare_llm.pruning.calibration.batches import BatchInput, read_batches
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.journal.fingerprint import run_fingerprint
from pare_llm.pruning.journal.journal import Journal
from pare_llm.pruning.layer_client import LayerClient, combine_clients
from pare_llm.pruning.model.blocks import find_blocks
from pare_llm.pruning.model.layer_choice import LayerChoice, choose_layers
from pare_llm.pruning.model.layers import linear_layers
from pare_llm.pruning.parameters import layer_query, needs_no_statistics
from pare_llm.pruning.progress import progress_bar
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.report.prune_report import PruneReport
from pare_llm.pruning.report.run_facts import run_facts

if TYPE_CHECKING:
    import torch.distributed as dist

    from pare_llm.client.pare import Pare


class PruneRun:
    """One run. On several ranks, every rank calls the methods in the same order."""

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[BatchInput],
        client: LayerClient | Sequence[Pare],
        *,
        layers: LayerChoice | None,
        blocks: Sequence[str | nn.Module] | None,
        group: dist.ProcessGroup | None,
        query: dict[str, Any],
    ) -> None:
        """Read the batches and choose the layers. `prune_` describes the arguments."""
        self._model = model
        self.ranks = Ranks(group)
        self._query = layer_query(query)
        self._client = combine_clients(client)
        self.blocks = find_blocks(model, blocks)
        self._all_layers = linear_layers(model, self.blocks)
        self.layers = choose_layers(self._all_layers, layers)
        self._batches = self.ranks.together(lambda: read_batches(batches))
        self._journal: Journal | None = None
        self._is_journaled = False
        self._capture_seconds = 0.0

    def open_journal(
        self, folder: str | Path | None, model_digest: Callable[[], str], stack: ExitStack
    ) -> None:
        """Open the journal on rank 0 until `stack` is closed. Without a folder, nothing is recorded.

        Raises:
            ValueError: if the journal is damaged or belongs to another run.
        """
        if folder is None:
            return
        path = Path(folder)
        fingerprint = run_fingerprint(
            model=self.ranks.together(model_digest),
            batches=self._batches,
            layers=self.layers,
            query=self._query,
            device=self.layers[0].device,
            ranks=self.ranks,
        )

        def open_on_first_rank() -> Journal | None:
            return stack.enter_context(Journal(path, fingerprint)) if self.ranks.index == 0 else None

        self._journal = self.ranks.together(open_on_first_rank)
        self._is_journaled = True

    def capture(self, states_device: torch.device) -> HiddenStates | None:
        """Run the model up to its first block. Return None if the run has no batches and needs none.

        Raises:
            ValueError: if there are no batches, but the method needs statistics.
        """
        if not any(self.ranks.collect(len(self._batches))):
            if needs_no_statistics(self._query):
                return None
            raise ValueError(
                f"batches: the method {self._query['method']} needs at least one batch, got none"
            )
        started = time.perf_counter()
        hidden = HiddenStates.capture(
            self._model, self.blocks, self._batches, device=states_device, ranks=self.ranks
        )
        self._capture_seconds = time.perf_counter() - started
        return hidden

    def prune(
        self, hidden: HiddenStates | None, store: BlockStore, *, progress: bool, name: str | None = None
    ) -> PruneReport:
        """Prune all layers. `name` is the name of the model in the report."""
        solver = BlockSolver(self._client, self._query, self.ranks, self._journal, self._is_journaled)
        with progress_bar(len(self.layers), is_shown=progress and self.ranks.index == 0) as on_layer:
            results = BlockLoop(
                model=self._model,
                blocks=self.blocks,
                layers=self.layers,
                batches=self._batches,
                hidden=hidden,
                solver=solver,
                ranks=self.ranks,
                store=store,
                on_layer=on_layer,
                calibration_seconds=self._capture_seconds,
            ).run()
        facts = run_facts(
            self._model,
            name=name,
            blocks=self.blocks,
            layers=self._all_layers,
            chosen=self.layers,
            batches=self._batches,
            query=self._query,
            ranks=self.ranks,
            resumed=self.ranks.share(self._journal.resumed if self._journal else 0, 0),
        )
        return PruneReport(results, facts)
