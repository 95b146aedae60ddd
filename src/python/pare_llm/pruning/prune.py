"""Prunes a PyTorch model in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from pare_llm.layers.unwrap import unwrap
from pare_llm.local.local_options import require_local
from pare_llm.local.local_solver import LocalSolver
from pare_llm.pruning.calibration.batches import BatchInput, Validation
from pare_llm.pruning.calibration.windows import HELD_OUT_SHARE
from pare_llm.pruning.fingerprint import model_digest
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.model.blocks import BlockStore
from pare_llm.pruning.model.layer_choice import LayerChoice
from pare_llm.pruning.model.require_weights import require_weights
from pare_llm.pruning.model.sharding import reshard
from pare_llm.pruning.model.unfinished import record_unfinished
from pare_llm.pruning.parameters import DEFAULT_METHOD
from pare_llm.pruning.preflight import require_receivers
from pare_llm.pruning.prune_report import LayerResult, PruneReport
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.run import PruneRun
from pare_llm.pruning.run_plan import RunPlan

if TYPE_CHECKING:
    import torch.distributed as dist
    from typing_extensions import Unpack

    from pare_llm.client.layer_query import Method
    from pare_llm.client.pare import Pare
    from pare_llm.pruning.allocation.allocate import AllocationName
    from pare_llm.pruning.run_options import OtherRunParameters, TargetSource
    from pare_llm.pruning.trackers.tracker import Tracker


def prune_(
    model: nn.Module,
    batches: Iterable[BatchInput],
    client: LayerClient | Sequence[Pare] | None = None,
    *,
    method: Method | None = None,
    sparsity: float | None = None,
    pattern: str | None = None,
    bits: int | None = None,
    group_size: int | None = None,
    layers: LayerChoice | None = None,
    ignore: LayerChoice | None = None,
    allocate: AllocationName = "uniform",
    target: TargetSource = "none",
    reconstruct: int = 0,
    validation: Validation = HELD_OUT_SHARE,
    blocks: Sequence[str | nn.Module] | None = None,
    journal: str | Path | None = None,
    group: dist.ProcessGroup | None = None,
    progress: bool = True,
    on_layer: Callable[[LayerResult], None] | None = None,
    tracker: Tracker | None = None,
    states_device: torch.device | str = "cpu",
    **parameters: Unpack[OtherRunParameters],
) -> PruneReport:
    """Prune the linear layers of a model in place, block by block, as SparseGPT does (arXiv 2301.00774).

    For each block, the Hessians of its layers are recorded on the current hidden states, the layers are
    solved at the host, and the outputs of the pruned block become the inputs of the next block.

    If `torch.distributed` is initialised, every rank calls `prune_` with the same model and its own share of
    the batches. The Hessians are summed over the ranks, each rank asks its client for some layers, and all
    ranks end with the same bits. The model may be wrapped in `DistributedDataParallel`, `torch.compile` or
    peft, whose adapters stay as they are, or sharded by `fully_shard` (FSDP2). Of a sharded model, one block
    is gathered at a time, or one parameter outside of the blocks, but never the token embeddings.

    Args:
        model: a causal language model of transformers, or any model whose blocks form a chain.
        batches: the `input_ids` (windows, tokens) or the keyword arguments of each forward pass, read once.
            Padding that an `attention_mask` (windows, tokens) marks with 0 is left out of the statistics. May
            be empty if the method is `magnitude`, without `refit` and `bits`.
        method: the solver of the layers. Defaults to `alps`, and without a client to `sparsegpt`.
        sparsity: the share of the weights that become zero. Defaults to 0.5, or to the share of an n:m
            pattern.
        pattern: where the zeros may be: `unstructured`, the default, or n:m such as `2:4`, which keeps at
            most n of every m consecutive inputs of an output.
        bits: rounds the kept weights to a grid of 2^bits values, from 2 to 8. By default none is rounded.
        group_size: the number of columns that share a grid. By default all columns of a row do.
        layers: the layers to prune: patterns as `choose_layers` of `pare_llm.layers` describes them, or a
            function of the name of a layer. By default all linear layers of the blocks, and each expert of a
            mixture is several layers. Embeddings, the output head and routers are never pruned. Other
            matrices of the blocks that stay dense are named in a warning and in the report.
        ignore: the layers that stay dense (`pare prune --skip`), in the same forms. It may also name
            matrices that are never pruned, such as `lm_head`.
        allocate: how the zeros are spread over the layers. `owl` gives blocks with many outliers a lower
            sparsity, `error` minimises the mean relative error of the layers, and the total stays exact. Both
            need a pass through the dense model first.
        target: what the outputs of a layer should be. `dense` moves its weights by `target_step` towards the
            outputs of the dense model before it is pruned, so that it can make up for errors of the layers
            before it. Without a `target_step`, the held-out windows choose it for each layer. The hidden
            states then take twice the memory.
        reconstruct: how many epochs the kept weights, the biases and the norms of each block are trained
            after its layers were pruned, so that its outputs are near the outputs of the dense block. With
            `target="dense"`, the dense block has the inputs of the dense model. The epoch with the least
            error on the held-out windows is kept. Zeros stay zero. With `bits`, the layers of a block are
            rounded after the block was trained.
        validation: the share of the windows of all batches that is held out, from 0 to 0.5. By default one
            window in eight, evenly spaced, and none if there are fewer than eight. A tensor of a batch is
            divided if its first dimension counts the windows. Or held-out batches, in the form of `batches`.
            Every rank gives its own held-out batches. Held-out windows are never fitted. They decide between
            the results of a solve, and the report has the error of each layer on them.
        client: a `Pare` or `PareHosts`, or a list of `Pare`. The layers of a block are spread over all hosts.
            By default, this process solves the layers with `sparsegpt`, `magnitude` or `wanda`.
        blocks: the blocks, as names or modules in the order of the forward pass. By default the only
            `nn.ModuleList` of modules of one class.
        journal: a folder for the finished layers. If the run is stopped, the same call with a freshly loaded
            model continues after the last finished layer, and ends with the same bytes. On several ranks,
            rank 0 has it.
        group: the process group. By default all ranks.
        progress: whether to show a progress bar, if tqdm is installed.
        on_layer: called with the result of each layer, on every rank, after its weight was replaced.
        tracker: `MlflowTracker`, `WandbTracker` or another `Tracker`, which gets the parameters, the result
            of each layer, and the report. On several ranks, rank 0 has it.
        states_device: where the hidden states of all batches are stored.
        **parameters: other parameters of the layers and options of the run, which `RunParameters` describes.
            As in the command `pare prune`, `token_weights` is `unit` unless it is given. SparseGPT was
            published with `token_weights="none"`.

    Returns:
        the report of the run and of each layer.

    Raises:
        ValueError: if the blocks do not form a chain or are in several stacks, if no layer is chosen, if a
            layer received no token, if some weights are not in memory, if options do not work together, or
            if the journal is damaged or belongs to a run with other arguments.
        TypeError: if the model is quantised, or wrapped in FSDP1.
        PareError, ConnectionError: as `Pare.prune_layer`. The layers that were finished before stay pruned.
        RuntimeError: if the run failed on another rank. The message names the rank and its error.
    """
    require_receivers(on_layer, tracker)
    if client is None:
        require_local({"target": target, "reconstruct": reconstruct})
        method = method or "sparsegpt"
    main = {
        "method": method or DEFAULT_METHOD,
        "sparsity": sparsity,
        "pattern": pattern,
        "bits": bits,
        "group_size": group_size,
        "layers": layers,
        "ignore": ignore,
        "allocate": allocate,
        "target": target,
        "reconstruct": reconstruct,
    }
    ranks = Ranks(group)
    network = ranks.together(partial(_prepare, model))
    with ExitStack() as stack:
        plan = RunPlan(
            network,
            batches,
            LocalSolver() if client is None else client,
            validation=validation,
            parameters={**main, **parameters},
            blocks=blocks,
            ranks=ranks,
        )
        run = PruneRun(
            plan,
            BlockStore(),
            stack,
            journal=journal,
            model_digest=partial(model_digest, network),
            tracker=tracker,
            on_layer=on_layer,
        )
        states = run.capture(states_device)
        try:
            return run.prune(states, progress=progress)
        except BaseException as error:
            record_unfinished(network, run.written.values(), len(plan.layers), error)
            raise


def _prepare(model: nn.Module) -> nn.Module:
    """Return the model inside of its wrappers, with all its weights in memory."""
    network = unwrap(model)
    require_weights(network)
    reshard(network)
    return network
