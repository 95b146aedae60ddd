"""`prune.py` on the ranks that torchrun starts, one of which is killed."""

import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
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


@functools.cache
def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prune", PACKAGE / "prune.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Run = Callable[..., None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the script in this process, which has imported torch already."""

    def run_script(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", list(arguments))
        load_script().main()

    return run_script


def test_the_same_command_does_nothing_after_the_end(
    run: Run, host: HostProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    out = pruned_on_two_ranks(host.url)
    before = weights(out)
    run(*script(out, host), *CALIBRATION)
    assert capsys.readouterr().out == f"{out}: is finished already\n"
    assert weights(out) == before


def test_another_command_is_refused_after_the_end(run: Run, host: HostProcess, tmp_path: Path) -> None:
    out = pruned_on_two_ranks(host.url)
    before = weights(out)
    changes = "seqlen was 64 and is 32; pattern was None and is 2:4"
    problem = f"{out}: has a run with other options: {changes}. Delete it, or use another folder"
    with pytest.raises(ValueError, match=re.escape(problem)):
        run(*script(out, host), *CALIBRATION, "--pattern", "2:4", "--seqlen", "32")
    assert weights(out) == before
    foreign = tmp_path / "model"
    shutil.copytree(out, foreign, ignore=shutil.ignore_patterns("prune_options.json"))
    with pytest.raises(ValueError, match="already has a checkpoint that this program has not written"):
        run(*script(foreign, host), *CALIBRATION)


def test_a_text_that_is_too_short_is_refused(run: Run, host: HostProcess, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="but 128 windows of 2048 need 262144"):
        run(*script(tmp_path, host))  # 128 windows of 2048 tokens


def test_the_exit_code_of_a_refused_run_is_3(host: HostProcess, tmp_path: Path) -> None:
    command = [sys.executable, *script(tmp_path, host), *CALIBRATION, "--sparsity", "1.5"]
    refused = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    assert "invalid_parameter (400)" in refused.stderr


def test_the_exit_code_of_wrong_usage_is_2(run: Run) -> None:
    with pytest.raises(SystemExit) as failure:
        run("prune.py", "MODEL")
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
