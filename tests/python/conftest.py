"""Fixtures that several test files use: a running host, and the trained models of the repository."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The models of the tests are so small that the threads of torch would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests/fixtures/models"

# The environment variables with which another process of Python finds the package, and asks no server for
# models.
PYTHON_VARIABLES = {"PYTHONPATH": str(ROOT / "src/python"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

# The command line `pare`, for `run_deno`.
PARE = "src/cli/main.ts"

DENO = ["deno"] if shutil.which("deno") else ["npx", "-y", "deno@2.9.6"]


def run_python(*command: str, **variables: str) -> list[str]:
    """Run Python in a process of its own, which must not fail, and return the lines that it prints."""
    env = {**os.environ, **PYTHON_VARIABLES, **variables}
    command = (sys.executable, *command)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def run_deno(script: str, *arguments: str | Path) -> str:
    """Run a program of this repository, which must not fail, and return what it prints."""
    command = [*DENO, "run", "-A", "--no-check", "--quiet", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for a condition, and raise TimeoutError if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition did not come true within {seconds} s")
        time.sleep(0.02)


class DenoProcess:
    """A program of this repository, in a process group of its own."""

    def __init__(self, script: list[str], env: dict[str, str] | None = None, lines: int = 1) -> None:
        """Start the program and wait until it has printed `lines` lines."""
        self._process = subprocess.Popen(
            [*DENO, "run", "-A", "--no-check", *script],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.lines = [self._process.stdout.readline() for _ in range(lines)]

    def kill(self) -> None:
        """End the program without giving it time to finish its work, as a crash would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Let the program finish its work, and end it."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
            self._process.wait(timeout=30)


class HostProcess(DenoProcess):
    """A Pare host with the backend `cpu`, in a process of its own, at a free port of this machine."""

    def __init__(self, *, port: int = 0, env: dict[str, str] | None = None) -> None:
        """Start the host and wait until it listens."""
        script = ["src/cli/main.ts", "serve", "--backend", "cpu", "--json", "--port", str(port)]
        super().__init__(script, env)
        self.url: str = json.loads(self.lines[0])["url"]


class EdgeProcess(DenoProcess):
    """An edge, which is Pare's Cloudflare Worker, and a host behind it. Both run on this machine.

    The edge refuses bodies of more than `BODY_LIMIT` bytes, so that a small layer is enough to test uploads
    and jobs.
    """

    BODY_LIMIT = 1_000_000

    def __init__(self, state: Path) -> None:
        """Start both, with the data of the edge in `state`, and wait until the host has registered."""
        script = ["scripts/edge_dev.ts", "--port", "0", "--state", str(state), "--backend", "cpu"]
        super().__init__([*script, "--var", f"EDGE_BODY_LIMIT={self.BODY_LIMIT}"], lines=2)
        self.url, self.host_url = (line.split()[1].rstrip(",") for line in self.lines)


@pytest.fixture(scope="session")
def host() -> Iterator[HostProcess]:
    """Return one host that all tests of the session share."""
    process = HostProcess()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    """Return one edge with a host that all tests of the session share."""
    process = EdgeProcess(tmp_path_factory.mktemp("edge"))
    yield process
    process.stop()
