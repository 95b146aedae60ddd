"""Prunes a checkpoint folder whose model does not fit into memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pare_llm.checkpoints.folder import CONFIG_FILE, CheckpointFolder
from pare_llm.checkpoints.remote import as_path
from pare_llm.pruning.calibration.batches import BatchInput, Validation
from pare_llm.pruning.calibration.windows import HELD_OUT_SHARE
from pare_llm.pruning.folder.block_names import stored_block_names
from pare_llm.pruning.folder.folder_store import FolderStore
from pare_llm.pruning.folder.output_files import OutputFiles
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.preflight import require_receivers
from pare_llm.pruning.prune_report import LayerResult, PruneReport
from pare_llm.pruning.ranks import Ranks
from pare_llm.pruning.run import PruneRun
from pare_llm.pruning.run_plan import RunPlan

if TYPE_CHECKING:
    import torch.distributed as dist
    from typing_extensions import Unpack

    from pare_llm.client.pare import Pare
    from pare_llm.pruning.run_options import RunParameters
    from pare_llm.pruning.trackers.tracker import Tracker


def prune_folder(
    folder: str | Path,
    batches: Iterable[BatchInput],
    client: LayerClient | Sequence[Pare],
    out: str | Path,
    *,
    validation: Validation = HELD_OUT_SHARE,
    journal: str | Path | None = None,
    group: dist.ProcessGroup | None = None,
    progress: bool = True,
    on_layer: Callable[[LayerResult], None] | None = None,
    tracker: Tracker | None = None,
    model_dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    states_device: torch.device | str = "cpu",
    **parameters: Unpack[RunParameters],
) -> PruneReport:
    """Prune a causal language model of transformers on the disk, with one block in memory at a time.

    The run takes memory for the hidden states of all batches, and for the parameters and the Hessians of one
    block. Only while the batches are embedded, the embeddings are in memory too. On several ranks, rank 0
    writes the files. `prune_` describes the method and the other arguments.

    - folder: the dense checkpoint: `config.json`, and the parameters as they are, in safetensors files or in
      a distributed checkpoint of PyTorch. Of a location such as `s3://…`, `gs://…` or `hf://…`, only the
      needed bytes are read.
    - out: the folder of the pruned checkpoint, or its location in an object store. It gets one file per
      block, `pare.json`, and copies of the other files. Tensors that did not change are copied bit for
      bit, and the others keep their dtype.
    - model_dtype: the dtype of the forward passes, in which the weights are also sent. By default the dtype
      of `config.json`.
    - device: where one block at a time is loaded.

    Raises:
        FileNotFoundError: if the folder has no `config.json` or no weights.
        FileExistsError: if there is a checkpoint in `out`.
        ValueError: as `prune_`, and if the checkpoint is malformed or lacks a parameter.
        PareError, ConnectionError, RuntimeError: as `prune_`.
    """
    require_receivers(on_layer, tracker)
    folder, out, device = as_path(folder), as_path(out, "out"), torch.device(device)
    ranks = Ranks(group)
    with ExitStack() as stack:
        source = ranks.together(partial(CheckpointFolder, folder))
        stack.callback(source.close)
        model = ranks.together(partial(make_skeleton, source, model_dtype, device))
        plan = RunPlan(model, batches, client, validation=validation, parameters=parameters, ranks=ranks)
        names = stored_block_names(model, plan.blocks, plan.all_layers, source)

        def plan_output() -> OutputFiles | None:
            stored = [[part.name for parts in block.values() for part in parts] for block in names]
            return OutputFiles(source, out, stored) if ranks.index == 0 else None

        output = ranks.together(plan_output)
        store = FolderStore(model, source, names, output=output, device=device)
        run = PruneRun(
            plan,
            store,
            stack,
            journal=journal,
            model_digest=lambda: f"{checkpoint_digest(source)} {model.dtype} on {device.type}",
            tracker=tracker,
            on_layer=on_layer,
        )
        with store.rest_loaded(plan.blocks):
            store.load(plan.blocks[0])
            states = run.capture(states_device)
        report = run.prune(states, progress=progress, name=folder.resolve().name)

        def finish_output() -> None:
            if output:
                output.write_rest()
                report.save(out)
                output.write_index()

        ranks.together(finish_output)
        return report


def checkpoint_digest(source: CheckpointFolder) -> str:
    """Digest the configuration, the sizes and times of the files, and the entries of their headers."""
    digest = hashlib.sha256(json.dumps(source.config).encode())
    for path in source.files():
        status = path.stat()
        digest.update(f"{path.name}:{status.st_size}:{status.st_mtime_ns};".encode())
    for name in source.names():
        digest.update(f"{source.info(name)};".encode())
    return f"sha256:{digest.hexdigest()}"


def make_skeleton(
    source: CheckpointFolder, dtype: torch.dtype | None, device: torch.device
) -> PreTrainedModel:
    """Return the causal language model of a checkpoint without its weights.

    Computed buffers, such as the frequencies of rotary embeddings, are on `device`. Code in the folder is
    never run.
    """
    # The folder may be in an object store, so transformers gets a copy of the configuration.
    with tempfile.TemporaryDirectory() as copy:
        Path(copy, CONFIG_FILE).write_text(json.dumps(source.config))
        config = AutoConfig.from_pretrained(copy, local_files_only=True, trust_remote_code=False)
    options = {} if dtype is None else {"dtype": dtype}
    with _parameters_on_meta():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, **options)  # type: ignore[no-untyped-call]
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(device)
    return model


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Move each parameter to the meta device as soon as a module registers it."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
