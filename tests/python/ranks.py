"""Runs a function on several ranks of a process group on this machine."""

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing

_PRELOADED = ["torch.distributed.fsdp", *(f"transformers.models.{x}.modeling_{x}" for x in ("llama", "opt"))]


def run_on_ranks(scenario: Callable[..., Any], ranks: int, *args: object) -> list[Any]:
    """Run `scenario(*args)` on every rank, with gloo on the loopback interface, and return all results.

    The function must be on the top level of a module. The error of the first rank that fails is raised here.
    """
    # One server imports the modules, and every rank is a fork of it, because importing them takes seconds.
    get_context("forkserver").set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (ranks, Path(folder), scenario, args)
        multiprocessing.start_processes(_run, arguments, nprocs=ranks, start_method="forkserver")
        results = [torch.load(Path(folder, str(rank)), weights_only=False) for rank in range(ranks)]
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def _run(rank: int, ranks: int, folder: Path, scenario: Callable[..., Any], args: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    # The variables that torchrun sets.
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    os.environ.update(zip(names, map(str, (rank, rank, ranks, ranks)), strict=True))
    rendezvous, timeout = f"file://{folder / 'rendezvous'}", timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=ranks, timeout=timeout)
    try:
        result = scenario(*args)
    except Exception as error:
        result = error
    torch.save(result, folder / str(rank))
    dist.destroy_process_group()
