"""Runs a function in several processes that communicate through gloo on this machine."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def spawn_ranks(function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[Any]:
    """Call `function(*arguments)` on each rank, and return the results in the order of the ranks.

    The function must be on the top level of a module. If a rank raises an exception, all ranks end, and the
    exception is raised here.
    """
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_run, (ranks, folder, function, arguments), nprocs=ranks)
        return [torch.load(Path(folder, str(rank)), weights_only=False) for rank in range(ranks)]


def _run(
    rank: int, ranks: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    # The variables that torchrun sets.
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks)
    )
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    try:
        torch.save(function(*arguments), Path(folder, str(rank)))
        dist.barrier()
    finally:
        dist.destroy_process_group()
