"""Measures the memory that `prune_folder` takes, in a process of its own.

    python block_memory.py URL [--hidden N] [--intermediate N] [--blocks N] [--method NAME] [--store LOCATION]

Writes a LLaMA checkpoint with random weights to a temporary folder, or to LOCATION in an object store, prunes
it through the host at URL with one block in memory at a time, and prints one JSON object with numbers of
bytes:

- `model`, `block` and `embeddings`: the parameters of the model, of its largest block, and of the embeddings;
- `statistics`: the Hessians of one block as float32 matrices;
- `states`: the hidden states of all batches;
- `tensors`: the most bytes of tensors that were alive when a block was loaded, when its Hessians were
  recorded, and when a layer was sent;
- `process`: the growth of the peak resident memory of the process from just before the run. It includes the
  bodies of requests and answers, and the memory that allocators have not given back. Linux only.
"""

import argparse
import gc
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fsspec
import torch
import transformers
from pare_llm import Pare, PruneReport, prune_folder
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.folder.folder_store import FolderStore

BATCHES, ROWS, TOKENS = 4, 2, 128


class TensorCounter:
    """Remembers the most bytes of tensors that were alive at the same time."""

    def __init__(self) -> None:
        self.peak = 0

    def count(self) -> None:
        """Add up the storages of all tensors that were made since `gc.freeze`."""
        storages: dict[int, int] = {}
        for value in gc.get_objects():
            # A sharded tensor has no storage. Its shard is a tensor of its own.
            if type(value) in (torch.Tensor, torch.nn.Parameter) and value.device.type == "cpu":
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        self.peak = max(self.peak, sum(storages.values()))


def resident_peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def reset_resident_peak() -> None:
    """Let the peak begin again at the memory that is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def counted(counter: TensorCounter, url: str) -> Pare:
    """Return a client that counts tensors before each layer, and count them in other steps too."""

    class CountingPare(Pare):
        def prune_layer(self, *args: Any, **options: Any) -> Any:
            counter.count()
            return super().prune_layer(*args, **options)

    count_after(FolderStore, "load", counter)
    count_after(HiddenStates, "observe", counter)  # all Hessians of the block are recorded now
    return CountingPare(url)


def count_after(kind: type, method: str, counter: TensorCounter) -> None:
    """Let a method of a class count tensors when it returns."""
    original = getattr(kind, method)

    def counting(*args: Any) -> None:
        original(*args)
        counter.count()

    setattr(kind, method, counting)


def measure(
    url: str, *, hidden: int, intermediate: int, blocks: int, method: str, store: str | None
) -> dict[str, Any]:
    """Write a checkpoint, prune it, and return the numbers of bytes."""
    counter = TensorCounter()
    client = counted(counter, url)
    batches = [torch.randint(512, (ROWS, TOKENS)) for _ in range(BATCHES)]
    with tempfile.TemporaryDirectory(prefix="pare-bench-") as folder:

        def save(name: str, **sizes: int) -> dict[str, int]:
            """Save a model, to the object store if there is one, and return the sizes of its parts."""
            parts = save_llama(f"{folder}/{name}", **sizes)
            if store:
                fsspec.url_to_fs(store)[0].put(f"{folder}/{name}", f"{store}/{name}", recursive=True)
            return parts

        def prune(name: str) -> PruneReport:
            """Prune a saved model."""
            dense = f"{store or folder}/{name}"
            return prune_folder(
                dense, batches, client, f"{dense}-pruned", validation=0, method=method, progress=False
            )

        # A whole run of a small model loads every library, so that the memory of libraries is not measured.
        save("small", hidden=64, intermediate=64, blocks=1)
        prune("small")
        parts = save("dense", hidden=hidden, intermediate=intermediate, blocks=blocks)
        counter.peak = 0
        gc.collect()
        gc.freeze()  # `gc.get_objects` leaves out the objects that exist now, so counting is fast
        reset_resident_peak()
        before = resident_peak()
        report = prune("dense")
        process = resident_peak() - before
    assert report.zeros == report.entries // 2
    return {
        **parts,
        "statistics": 4 * (3 * hidden**2 + intermediate**2),
        "states": 4 * BATCHES * ROWS * TOKENS * hidden,
        "tensors": counter.peak,
        "process": process,
        "layers": len(report.layers),
        "method": method,
    }


def save_llama(folder: str, *, hidden: int, intermediate: int, blocks: int) -> dict[str, int]:
    """Save a LLaMA checkpoint with random weights, and return the sizes of its parts in bytes."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=blocks,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        vocab_size=512,
        tie_word_embeddings=False,
    )
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return {
        "model": bytes_of(model),
        "block": bytes_of(model.model.layers[0]),
        "embeddings": bytes_of(model.model.embed_tokens),
    }


def bytes_of(module: torch.nn.Module) -> int:
    """Return the size of the parameters of a module."""
    return sum(values.numel() * values.element_size() for values in module.parameters())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--intermediate", type=int, default=1408)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--method", default="sparsegpt")
    parser.add_argument("--store")
    options = vars(parser.parse_args())
    print(json.dumps(measure(options.pop("url"), **options)))
