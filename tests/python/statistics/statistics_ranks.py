"""Runs a function on several ranks of a process group on this machine."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing


def run_on_ranks(scenario: Callable[..., Any], ranks: int, folder: Path, *args: object) -> list[Any]:
    """Run `scenario(*args)` on every rank, with gloo on the loopback interface. Return the result of each
    rank.

    An error on a rank is raised here.
    """
    # One server imports the modules, and every rank is a fork of it. Importing them once per rank takes much
    # longer.
    get_context("forkserver").set_forkserver_preload(["torch", "transformers.models.opt.modeling_opt"])
    arguments = (ranks, folder, scenario, args)
    multiprocessing.start_processes(_run, arguments, nprocs=ranks, start_method="forkserver")
    return [torch.load(folder / f"result-{rank}.pt", weights_only=False) for rank in range(ranks)]


def _run(rank: int, ranks: int, folder: Path, scenario: Callable[..., Any], args: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    interface = "lo0" if sys.platform == "darwin" else "lo"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=120),
    )
    try:
        torch.save(scenario(*args), folder / f"result-{rank}.pt")
    finally:
        dist.destroy_process_group()
