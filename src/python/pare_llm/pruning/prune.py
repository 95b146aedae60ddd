"""Prunes a PyTorch model in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from pare_llm.layers.unwrap import unwrap
from pare_llm.pruning.allocation.allocate import AllocationName
from pare_llm.pruning.calibration.batches import BatchInput
from pare_llm.pruning.fingerprint import model_digest
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.model.blocks import BlocksInMemory
from pare_llm.pruning.model.layer_choice import LayerChoice
from pare_llm.pruning.model.require_weights import require_weights
from pare_llm.pruning.parameters import Profile
from pare_llm.pruning.prune_report import LayerResult, PruneReport
from pare_llm.pruning.run import PruneRun
from pare_llm.pruning.run_options import RunOptions

if TYPE_CHECKING:
    import torch.distributed as dist
    from typing_extensions import Unpack

    from pare_llm.client.layer_query import LayerQuery
    from pare_llm.client.pare import Pare


def prune_(
    model: nn.Module,
    batches: Iterable[BatchInput],
    client: LayerClient | Sequence[Pare],
    *,
    validation: Iterable[BatchInput] = (),
    layers: LayerChoice | None = None,
    ignore: LayerChoice | None = None,
    profile: Profile | None = None,
    allocate: AllocationName = "uniform",
    true_sequential: bool = False,
    blocks: Sequence[str | nn.Module] | None = None,
    journal: str | Path | None = None,
    group: dist.ProcessGroup | None = None,
    progress: bool = True,
    on_layer: Callable[[LayerResult], None] | None = None,
    states_device: torch.device | str = "cpu",
    **query: Unpack[LayerQuery],
) -> PruneReport:
    """Prune the linear layers of a model in place, block by block, as published with SparseGPT (arXiv
    2301.00774).

    For each block, the Hessians of its layers are recorded on the current hidden states, the layers are
    solved at the host, and the outputs of the pruned block become the inputs of the next block.

    If `torch.distributed` is initialised, every rank calls `prune_` with the same model and its own share of
    the batches. The Hessians are summed over the ranks, each rank asks its client for some layers, and all
    ranks end with the same bits. The model may be wrapped in `DistributedDataParallel`, `torch.compile` or
    peft, whose adapters stay as they are, or sharded by `fully_shard` (FSDP2). Of a sharded model, one block
    is gathered at a time.

    Args:
        model: a causal language model of transformers, or any model whose blocks form a chain.
        batches: the `input_ids` (batch, tokens) or the keyword arguments of each forward pass, read once.
            Padding that an `attention_mask` (batch, tokens) marks with 0 is left out of the statistics. May
            be empty if the method is `magnitude`, without `refit` and `bits`.
        validation: held-out batches in the same form, such as the second result of `hold_out`. Their
            statistics are never fitted. They decide between the results of a solve, and the report has the
            error of each layer on them. Every rank gives its own share.
        client: a `Pare` or `PareHosts`, or a list of `Pare`. The layers of a block are spread over all hosts.
        layers: the layers to prune: patterns as `choose_layers` of `pare_llm.layers` describes them, or a
            function of the name of a layer. By default all linear layers of the blocks, and each expert of a
            mixture is several layers. Embeddings, the output head and routers are never pruned. Other
            matrices of the blocks that stay dense are named in a warning and in the report.
        ignore: the layers that stay dense, given in the same ways, as with `pare prune --skip`.
        profile: other parameters for some layers: a JSON file, or its rules, as with `pare prune --profile`.
            An example is `[{"match": "fc2", "sparsity": 0.3}, {"match": "*.0.*", "skip": True}]`.
        allocate: how the zeros are spread over the layers, as with `pare prune --allocate`. `owl` gives
            blocks with many outliers a lower sparsity, `error` minimises the mean relative error of the
            layers, and the total stays exact. Both need a pass through the dense model first.
        true_sequential: whether each group of layers that share an input is calibrated after the earlier
            groups of its block are pruned. This takes one more forward pass for each group.
        blocks: the blocks, as names or modules in the order of the forward pass. By default the only
            `nn.ModuleList` of modules of one class.
        journal: a folder for the finished layers. If the run is stopped, the same call with a freshly loaded
            model continues after the last finished layer, and ends with the same bytes. On several ranks,
            rank 0 has it.
        group: the process group. By default all ranks.
        progress: whether to show a progress bar, if tqdm is installed.
        on_layer: called with the result of each layer, on every rank, after its weight was replaced.
        states_device: where the hidden states of all batches are stored.
        **query: the parameters of all layers, which `LayerQuery` describes. As in the command `pare prune`,
            the method is `alps` and the sparsity 0.5 unless others are given.

    Returns:
        the report of the run and of each layer.

    Raises:
        ValueError: if the blocks do not form a chain or are in several stacks, if no layer is chosen, if a
            layer received no token, if some weights are not in memory, or if the journal is damaged or
            belongs to a run with other arguments.
        TypeError: if the model is quantised, or wrapped in FSDP1.
        PareError, ConnectionError: as `Pare.prune_layer`. The layers that were finished before stay pruned.
        RuntimeError: if the run failed on another rank. The message names the rank and its error.
    """
    network = unwrap(model)
    require_weights(network)
    options = RunOptions(layers, ignore, profile, allocate, true_sequential)
    with ExitStack() as stack:
        run = PruneRun(
            network,
            batches,
            client,
            validation=validation,
            options=options,
            blocks=blocks,
            group=group,
            query={**query},
        )
        run.open_journal(journal, lambda: model_digest(network), stack)
        hidden = run.capture(torch.device(states_device))
        return run.prune(hidden, BlocksInMemory(), progress=progress, on_layer=on_layer)
