"""The plan of a run: its layers, their parameters and its batches, checked before the first forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from pare_llm.layers.linear_layer import list_names
from pare_llm.pruning.allocation.allocate import allocation_request
from pare_llm.pruning.calibration.batches import (
    BatchInput,
    Validation,
    batches_digest,
    is_iterable,
    read_batches,
)
from pare_llm.pruning.fingerprint import digest_of
from pare_llm.pruning.layer_client import LayerClient, combine_clients
from pare_llm.pruning.model.blocks import find_blocks
from pare_llm.pruning.model.layer_choice import choose_layers
from pare_llm.pruning.model.layers import linear_layers, matrices_outside, matrix_names
from pare_llm.pruning.model.require_weights import require_dense
from pare_llm.pruning.model.sharding import is_sharded
from pare_llm.pruning.model.unfinished import require_unpruned
from pare_llm.pruning.parameters import (
    layer_query,
    merge_parameters,
    needs_no_statistics,
    resolved_parameters,
)
from pare_llm.pruning.preflight import parameter_facts, require_hosts, require_same, weight_facts
from pare_llm.pruning.prune_report import Allocation, RunFacts
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.reconstruction.block_trainer import windows_per_batch
from pare_llm.pruning.run_options import RunOptions

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery
    from pare_llm.client.pare import Pare
    from pare_llm.statistics.hessian import TokenWeights


class RunPlan:
    """The layers that a run prunes, and their parameters. Every rank has the same plan."""

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[BatchInput],
        client: LayerClient | Sequence[Pare],
        *,
        validation: Validation,
        parameters: Mapping[str, Any],
        blocks: Sequence[str | nn.Module] | None = None,
        ranks: Ranks,
    ) -> None:
        """Choose the layers, check the model, the arguments and the hosts, and read the batches.

        `prune_` describes the arguments. Every rank has to call this method.
        """
        self.model = model
        self.ranks = ranks
        ranks.together(partial(self._choose, client, parameters, blocks))
        self._require_agreement(validation)
        ranks.together(lambda: require_hosts(self.client, self.queries.values()))
        self.batches = read_batches(batches, validation, ranks)
        if self.options.reconstruct:
            windows = windows_per_batch(ranks)
            self.batches = [part for batch in self.batches for part in batch.split(windows)]

    def _choose(
        self,
        client: LayerClient | Sequence[Pare],
        parameters: Mapping[str, Any],
        blocks: Sequence[str | nn.Module] | None,
    ) -> None:
        """Find the blocks, and choose the layers and their parameters."""
        model = self.model
        options, query = RunOptions.split(parameters)
        self._query = layer_query(query)
        # The recorder weighs the tokens, so the hosts get statistics that are sums already.
        self.token_weights: TokenWeights = self._query["token_weights"]
        sent = {name: value for name, value in self._query.items() if name != "token_weights"}
        self.options = options
        self.client = combine_clients(client)
        self.blocks = find_blocks(model, blocks)
        self.all_layers = linear_layers(model, self.blocks)
        require_dense(self.all_layers)
        matrices = matrix_names(model)
        chosen = choose_layers(self.all_layers, options.layers, options.ignore, options.rules(), matrices)
        self.layers = list(chosen)
        require_unpruned(model, self.layers)
        self.allocation = allocation_request(options.allocate, chosen, self._query)
        queries = {layer: merge_parameters(sent, parameters) for layer, parameters in chosen.items()}
        options.require_possible(queries, is_sharded=is_sharded(model))
        self.queries = {layer.name: cast("LayerQuery", query) for layer, query in queries.items()}
        others = matrices_outside(model, self.blocks, self.all_layers)
        if others and self.ranks.index == 0:
            warnings.warn(
                f"prune_: leaves {list_names(others)} dense, because they are not weights of linear layers",
                stacklevel=5,
            )
        self._skipped = [layer.weight_name for layer in self.all_layers if layer not in chosen] + others

    def _require_agreement(self, validation: Validation) -> None:
        """Raise a ValueError on every rank if one of them prunes another model or has other arguments."""
        if self.ranks.count == 1:
            return
        share = {} if is_iterable(validation) else {"validation": validation}
        names = [layer.name for layer in self.layers]
        facts = parameter_facts({**self._query, **self.options.fingerprint(), **share}, names)
        require_same(self.ranks, {**facts, **self.ranks.together(partial(weight_facts, self.model))})

    def fingerprint(self, model_digest: str) -> dict[str, str]:
        """Return everything that the bytes of the result depend on. Every rank has to call this method."""
        query = {**self._query, **self.options.fingerprint()}
        return {
            "model": digest_of(self.ranks.collect(model_digest)),
            "batches": digest_of(self.ranks.collect(batches_digest(self.batches))),
            "layers": digest_of([layer.name for layer in self.layers]),
            **{name: repr(value) for name, value in sorted(query.items())},
            "ranks": str(self.ranks.count),
            "device": self.layers[0].device.type,
            "torch": torch.__version__,
        }

    def has_batches(self) -> bool:
        """Return whether a rank has batches to fit, or raise a ValueError if the run needs some.

        Every rank has to call this method.
        """
        if any(self.ranks.collect(any(not batch.is_held_out for batch in self.batches))):
            return True
        users = [f"{name}={value!r}" for name, value in self.options.needing_batches().items()]
        users += [
            f"the method {each['method']}" for each in self.queries.values() if not needs_no_statistics(each)
        ]
        if users:
            raise ValueError(f"batches: {users[0]} needs at least one batch, got none")
        return False

    def facts(self, name: str | None, allocation: Allocation | None, resumed: int) -> RunFacts:
        """Collect the facts about the run for its report. Every rank has to call this method."""
        model = self.model
        config: Any = getattr(model, "config", None)
        text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
        own = [(*batch.shape, batch.is_held_out) for batch in self.batches]
        every = [each for share in self.ranks.collect(own) for each in share]
        tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
        return RunFacts(
            model_name=name or Path(getattr(config, "_name_or_path", "")).name or type(model).__name__,
            model_type=getattr(config, "model_type", type(model).__name__),
            blocks=len(self.blocks),
            hidden_size=getattr(text_config, "hidden_size", 0),
            parameters=self.reported_parameters(),
            samples=sum(windows for windows, _, _ in every),
            validation_samples=sum(windows for windows, _, is_held_out in every if is_held_out),
            seqlen=max((tokens for _, tokens, _ in every), default=0),
            skipped=self._skipped,
            model_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
            resumed=resumed,
            allocation=asdict(allocation) if allocation else None,
        )

    def reported_parameters(self) -> dict[str, Any]:
        """Return the parameters of the layers and the options of the run, as `pare.json` has them."""
        return {**resolved_parameters(self._query), **self.options.reported()}

    def rounded_last(self) -> set[str]:
        """Return the names of the layers that are rounded after their block was trained.

        These are all layers of the blocks that have a layer with `bits`.
        """
        if not self.options.reconstruct:
            return set()
        rounded = [layer for layer in self.layers if self.queries[layer.name].get("bits") is not None]
        blocks = {layer.block for layer in rounded}
        return {layer.name for layer in self.layers if layer.block in blocks}
