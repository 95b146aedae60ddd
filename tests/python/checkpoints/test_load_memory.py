"""Tests how much memory reading a checkpoint takes."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
SHARDS, SHARD_BYTES = 12, 32 * MIB

PROGRAM = """
import resource, sys
import torch, pare_llm

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
values = pare_llm.load(sys.argv[1]).values()
count = sum(bool((tensor == 0).all()) for tensor in values)
print(count, peak() - before)
"""


def write_sparse_files(folder: Path) -> None:
    """Write shards with one weight each. The data is a hole in the file, so it takes no space on the disk."""
    (folder / "config.json").write_text("{}")
    weight_map = {}
    for number in range(SHARDS):
        entry = {"dtype": "BF16", "shape": [SHARD_BYTES // 2048, 1024], "data_offsets": [0, SHARD_BYTES]}
        header = json.dumps({f"{number}.weight": entry}).encode()
        with (folder / f"{number}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + SHARD_BYTES)
        weight_map[f"{number}.weight"] = f"{number}.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is a kibibyte only on Linux")
def test_a_loop_over_the_tensors_of_a_checkpoint_takes_memory_for_about_one_shard(tmp_path):
    write_sparse_files(tmp_path)
    command = [sys.executable, "-c", PROGRAM, tmp_path]
    done = subprocess.run(command, cwd=ROOT / "src/python", check=True, capture_output=True, text=True)
    count, grown = map(int, done.stdout.split())
    assert count == SHARDS
    assert grown < 4 * SHARD_BYTES, f"the process grew by {grown / MIB:.0f} MiB"
