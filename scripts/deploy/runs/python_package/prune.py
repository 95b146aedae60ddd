"""Prunes a checkpoint folder on one or more ranks, with one block in memory at a time.

    torchrun --standalone --nproc-per-node 2 --max-restarts 3 prune.py MODEL TEXT OUT

If the run is stopped or killed, the same command continues after the last finished layer. The exit codes are
those of the command line `pare`: 0 done, 1 defect, 2 wrong usage, 3 refused, 4 try again.
"""

import argparse
import hashlib
import json
import os
import sys
import traceback
from pathlib import Path

import torch
from pare_llm import Pare, PareError, calibration_windows, prune_folder
from torch import distributed as dist
from transformers import AutoTokenizer

DEFAULT_HOST = os.environ.get("PARE_SERVER") or "http://127.0.0.1:8000"
OPTIONS_FILE = "prune_options.json"  # in the folder of the pruned checkpoint

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="the folder of the dense checkpoint")
parser.add_argument("text", help="the text to calibrate on")
parser.add_argument("out", help="the folder of the pruned checkpoint")
parser.add_argument("--host", action="append", help="a host that this rank can reach; may be repeated")
parser.add_argument("--samples", type=int, default=128, help="the number of calibration windows")
parser.add_argument("--seqlen", type=int, default=2048, help="the number of tokens of a window")
parser.add_argument("--method")
parser.add_argument("--sparsity", type=float)
parser.add_argument("--pattern")


def join_ranks() -> None:
    """Initialise the process group of the ranks that torchrun started.

    After a rank has failed, torchrun restarts all ranks but keeps its store, in which Gloo may then find the
    addresses of processes that have ended. Each attempt therefore writes its keys under a prefix of its own.
    """
    store, rank, ranks = next(dist.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(store=dist.PrefixStore(f"attempt {attempt}", store), rank=rank, world_size=ranks)


def options_of(args: argparse.Namespace) -> dict[str, object]:
    """Return everything in the command that the result depends on."""
    return {
        "model": str(Path(args.model).resolve()),
        "text": f"sha256:{hashlib.sha256(Path(args.text).read_bytes()).hexdigest()}",
        **{name: getattr(args, name) for name in ("samples", "seqlen", "method", "sparsity", "pattern")},
    }


def is_finished(out: Path, options: dict[str, object]) -> bool:
    """Whether `out` has the result of this command. An unfinished run is continued by its journal.

    Raises:
        ValueError: if `out` has a run with other options, or another checkpoint.
    """
    has_index = (out / "model.safetensors.index.json").exists()  # which is written last
    if not (out / OPTIONS_FILE).exists():
        if has_index:
            raise ValueError(f"{out}: already has a checkpoint that this program has not written")
        return False
    before = json.loads((out / OPTIONS_FILE).read_text())
    changes = [
        f"{name} was {before.get(name)} and is {value}"
        for name, value in options.items()
        if before.get(name) != value
    ]
    if changes:
        raise ValueError(
            f"{out}: has a run with other options: {'; '.join(changes)}. Delete it, or use another folder"
        )
    return has_index


def record_options(out: Path, options: dict[str, object]) -> None:
    """Write the options so that another rank sees the whole file or none."""
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f"{OPTIONS_FILE}.tmp"
    temporary.write_text(json.dumps(options, indent=2))
    temporary.replace(out / OPTIONS_FILE)


def main() -> None:
    """Prune the model. Every rank reads its share of the windows."""
    args = parser.parse_args()
    out, options = Path(args.out), options_of(args)
    if is_finished(out, options):
        print(f"{out}: is finished already")
        return
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if ranks > 1:
        join_ranks()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    windows = calibration_windows(tokenizer, args.text, args.samples, args.seqlen)
    if rank == 0:
        record_options(out, options)
    # Ten retries take at least two minutes, which a host may need to start.
    hosts = [Pare(url, retries=10) for url in args.host or [DEFAULT_HOST]]
    prune_folder(
        args.model,
        windows[rank::ranks].split(1),
        hosts,
        out,
        journal=out / "journal",
        device=device,
        method=args.method,
        sparsity=args.sparsity,
        pattern=args.pattern,
    )
    if ranks > 1:
        dist.destroy_process_group()


def exit_code(error: Exception) -> int:
    """Return the exit code by which a scheduler decides whether to start the same command again."""
    if isinstance(error, PareError):
        return 4 if error.is_transient else 3
    if isinstance(error, (ConnectionError, TimeoutError, dist.DistError)):
        return 4
    return 3 if isinstance(error, (ValueError, OSError)) else 1


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        traceback.print_exc()
        sys.exit(exit_code(error))
