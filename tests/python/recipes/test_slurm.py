"""The Slurm script of the Python package, with programs that stand for `srun`, `scontrol` and `deno`."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, HostProcess, wait_until
from recipes_support import (
    CALIBRATION,
    MODEL,
    PACKAGE,
    TEXT,
    environment,
    finished_layers,
    pruned_on_two_ranks,
    started,
    weights,
)

SCRIPT = PACKAGE / "prune.sbatch"

# Runs the command as the tasks of a step, and ends with the highest exit code, as srun does.
SRUN = """#!/bin/bash
[ "$1" = --overlap ] && shift
for ((i = 0; i < SLURM_NTASKS; i++)); do
  SLURM_PROCID=$i SLURM_LOCALID=0 "$@" & tasks+=($!)
done
trap 'kill "${tasks[@]}"' TERM
code=0
for task in "${tasks[@]}"; do
  wait "$task"; result=$?
  if [ $result -gt $code ]; then code=$result; fi
done
exit $code
"""

SCONTROL = """#!/bin/bash
if [ "$*" = "show hostnames node[1-2]" ]; then printf '127.0.0.1\\n127.0.0.2\\n'; exit; fi
echo "$*" >> "$CALLS"
"""

DENO = """#!/bin/bash
echo "$*" >> "$HOSTS"
exec sleep 1000
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with the programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "deno": DENO}.items():
        write_program(folder / name, text)
    return folder


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def slurm_environment(programs: Path, restarts: int = 0) -> dict[str, str]:
    """Return the environment of a job of two tasks on two nodes, which run on this machine."""
    return {
        **environment(programs),
        "PARE_CLONE": str(ROOT),
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NTASKS": "2",
        **({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}),
        "CALLS": str(programs / "calls"),
        "HOSTS": str(programs / "hosts"),
    }


def calls(programs: Path) -> list[str]:
    """Return the commands that the script gave to `scontrol`."""
    path = programs / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_usr1_requeues_the_job_and_the_next_attempt_continues(
    programs: Path, host: HostProcess, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [str(MODEL), str(TEXT), str(out), "--host", host.url, *CALIBRATION]
    command = ["bash", str(SCRIPT), *arguments]
    with started(command, slurm_environment(programs), tmp_path / "output") as job:
        wait_until(lambda: finished_layers(out) >= 5)
        os.kill(job.pid, signal.SIGUSR1)  # `B:` in --signal means that only the shell gets the signal
        assert job.wait(timeout=30) == 4
    assert calls(programs) == ["requeue 42"]
    assert not (out / "pare.json").exists()
    with started(command, slurm_environment(programs, restarts=1), tmp_path / "output") as job:
        assert job.wait(timeout=300) == 0, (tmp_path / "output").read_text()
    assert calls(programs) == ["requeue 42"]
    assert weights(out) == weights(pruned_on_two_ranks(host.url))
    serve = f"run -A {ROOT}/scripts/launcher/pare.ts serve --port 10084 --backend webgpu"
    assert (programs / "hosts").read_text().splitlines() == [serve] * 4


@pytest.mark.parametrize(
    ("codes", "restarts", "is_requeued"),
    [
        ("00", 0, False),
        ("10", 0, False),
        ("02", 0, False),
        ("13", 0, False),
        ("14", 0, True),
        ("04", 19, True),
        ("04", 20, False),
    ],
)
def test_a_job_is_requeued_after_failures_that_may_pass(
    codes: str, restarts: int, is_requeued: bool, programs: Path
) -> None:
    write_program(programs / "python", f'#!/bin/bash\ncodes={codes}\nexit "${{codes:$RANK:1}}"\n')
    done = subprocess.run(
        ["bash", str(SCRIPT), "MODEL", "TEXT", "OUT"], env=slurm_environment(programs, restarts), check=False
    )
    assert done.returncode == max(int(code) for code in codes)
    assert calls(programs) == (["requeue 42"] if is_requeued else [])


def test_the_ranks_get_the_addresses_of_torch_and_the_arguments_of_the_job(programs: Path) -> None:
    variables = '"$RANK of $WORLD_SIZE, $LOCAL_RANK, $MASTER_ADDR:$MASTER_PORT, $PARE_SERVER, $*"'
    write_program(programs / "python", f'#!/bin/bash\necho {variables} > "$CALLS.$RANK"\n')
    command = ["bash", str(SCRIPT), "a model", "TEXT", "OUT", "--pattern", "2:4"]
    subprocess.run(command, env=slurm_environment(programs), check=True)
    arguments = f"{PACKAGE}/prune.py a model TEXT OUT --pattern 2:4"
    for rank in range(2):
        printed = (programs / f"calls.{rank}").read_text()
        assert printed == f"{rank} of 2, 0, 127.0.0.1:10085, http://127.0.0.1:10084, {arguments}\n"


def test_the_script_asks_slurm_for_the_signal_and_for_requeueing() -> None:
    options = [line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines() if "#SBATCH" in line]
    assert {"--signal=B:USR1@120", "--requeue", "--open-mode=append"} <= set(options)
