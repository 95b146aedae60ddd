"""Fixtures that several test files use: a running host, and the trained models of the repository."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests/fixtures/models"


class HostProcess:
    """A Pare host with the backend `cpu`, in a process of its own, at a free port of this machine."""

    def __init__(self, *, port: int = 0, env: dict[str, str] | None = None) -> None:
        """Start the host and wait until it listens."""
        deno = shutil.which("deno")
        command = [deno] if deno else ["npx", "-y", "deno@2.9.6"]
        script = ["run", "-A", "--no-check", "src/cli/main.ts", "serve", "--backend", "cpu", "--json"]
        self._process = subprocess.Popen(
            [*command, *script, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]

    def kill(self) -> None:
        """End the host without giving it time to finish its layers, as a crash would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Let the host finish its layers, and end it."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
            self._process.wait(timeout=30)


@pytest.fixture(scope="session")
def host() -> Iterator[HostProcess]:
    """Return one host that all tests of the session share."""
    process = HostProcess()
    yield process
    process.stop()
