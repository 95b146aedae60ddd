"""Starts the recipes of `scripts/deploy/runs` in processes of their own."""

import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from conftest import MODELS, PYTHON_VARIABLES, ROOT

RECIPES = ROOT / "scripts/deploy/runs"
PACKAGE = RECIPES / "python_package"
MODEL = MODELS / "opt-sotu"
LAYERS = 24
TEXT = ROOT / "CONTRIBUTING.md"

CALIBRATION = ["--samples", "8", "--seqlen", "64", "--method", "sparsegpt"]


def environment(programs: Path | None = None) -> dict[str, str]:
    """Return an environment in which `python` has the package, and the programs of a folder come first."""
    folders = [*([str(programs)] if programs else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **os.environ,
        "PATH": os.pathsep.join(folders),
        **PYTHON_VARIABLES,
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
    }


@contextmanager
def started(command: list[str], env: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own, and afterwards end all processes that are left of it."""
    with output.open("ab") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def finished_layers(out: Path) -> int:
    """Return the number of layers in the journal of a run."""
    path = out / "journal/journal.jsonl"
    return path.read_text().count('"layer": ') if path.exists() else 0


def weights(out: Path) -> dict[str, bytes]:
    """Return the bytes of the weight files of a checkpoint."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.safetensors"))}


@functools.cache
def pruned_on_two_ranks(url: str) -> Path:
    """Return the folder of a run on two ranks of torchrun that was not interrupted."""
    out = Path(tempfile.mkdtemp(prefix="pare-test-"))
    script = [str(PACKAGE / "prune.py"), str(MODEL), str(TEXT), str(out), "--host", url]
    torchrun = ["torchrun", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, *script, *CALIBRATION], env=environment(), check=True)
    return out
