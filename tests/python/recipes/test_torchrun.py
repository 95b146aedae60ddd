"""`prune.py` on the ranks that torchrun starts, one of which is killed."""

import functools
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from conftest import HostProcess, wait_until
from pare_llm import PareError
from recipes_support import (
    CALIBRATION,
    LAYERS,
    MODEL,
    PACKAGE,
    TEXT,
    environment,
    finished_layers,
    pruned_on_two_ranks,
    started,
    weights,
)
from torch import distributed as dist

TORCHRUN = ["torchrun", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3"]


def script(out: Path, host: HostProcess) -> list[str]:
    return [str(PACKAGE / "prune.py"), str(MODEL), str(TEXT), str(out), "--host", host.url]


def ranks_of(torchrun: int) -> list[psutil.Process]:
    """Return the processes of the ranks."""
    return [child for child in psutil.Process(torchrun).children() if "prune.py" in " ".join(child.cmdline())]


def test_a_killed_rank_is_restarted_and_the_bytes_are_the_same(host: HostProcess, tmp_path: Path) -> None:
    command = [*TORCHRUN, *script(tmp_path, host), *CALIBRATION]
    with started(command, environment(), tmp_path / "output") as torchrun:
        wait_until(lambda: finished_layers(tmp_path) >= 5)
        ranks_of(torchrun.pid)[1].kill()
        assert torchrun.wait(timeout=300) == 0, (tmp_path / "output").read_text()
    report = json.loads((tmp_path / "pare.json").read_text())
    assert len(report["layers"]) == LAYERS
    assert report["resumed"] == 1
    assert weights(tmp_path) == weights(pruned_on_two_ranks(host.url))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *command]
    return subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False)


def test_the_same_command_does_nothing_after_the_end(host: HostProcess) -> None:
    out = pruned_on_two_ranks(host.url)
    before = weights(out)
    done = run(*script(out, host), *CALIBRATION)
    assert (done.returncode, done.stdout) == (0, f"{out}: is finished already\n")
    assert weights(out) == before


def test_another_command_is_refused_after_the_end(host: HostProcess, tmp_path: Path) -> None:
    out = pruned_on_two_ranks(host.url)
    before = weights(out)
    other = run(*script(out, host), *CALIBRATION, "--pattern", "2:4", "--seqlen", "32")
    assert other.returncode == 3
    changes = "seqlen was 64 and is 32; pattern was None and is 2:4"
    assert f"{out}: has a run with other options: {changes}. Delete it, or use another folder" in other.stderr
    assert weights(out) == before
    foreign = tmp_path / "model"
    shutil.copytree(out, foreign, ignore=shutil.ignore_patterns("prune_options.json"))
    refused = run(*script(foreign, host), *CALIBRATION)
    assert refused.returncode == 3
    assert "already has a checkpoint that this program has not written" in refused.stderr


def test_a_text_that_is_too_short_is_refused(host: HostProcess, tmp_path: Path) -> None:
    refused = run(*script(tmp_path, host))  # 128 windows of 2048 tokens
    assert refused.returncode == 3
    assert "but 128 windows of 2048 need 262144" in refused.stderr


def test_the_exit_code_of_a_refused_run_is_3(host: HostProcess, tmp_path: Path) -> None:
    refused = run(*script(tmp_path, host), *CALIBRATION, "--sparsity", "1.5")
    assert refused.returncode == 3
    assert "invalid_parameter (400)" in refused.stderr


@functools.cache
def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prune", PACKAGE / "prune.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_exit_code_of_wrong_usage_is_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["prune.py", "MODEL"])
    with pytest.raises(SystemExit) as failure:
        load_script().main()
    assert failure.value.code == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (4, ConnectionError("http://127.0.0.1:8000: refused")),
        (4, TimeoutError("no answer within 60 s")),
        (4, PareError("busy", 429, "the queue is full")),
        (4, PareError("device_lost", 503, "the GPU is gone")),
        (4, dist.DistNetworkError("the other rank is gone")),
        (3, PareError("not_positive_definite", 422, "order 5")),
        (3, ValueError("the journal of another run")),
        (3, FileNotFoundError("config.json")),
        (1, RuntimeError("rank 1 of 2 failed")),
    ],
)
def test_the_exit_code_says_whether_to_try_again(code: int, error: Exception) -> None:
    assert load_script().exit_code(error) == code
