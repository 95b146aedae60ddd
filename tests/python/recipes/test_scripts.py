"""The recipes pass the linters of their languages, and the workflows of GitHub a check of their security."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from recipes_support import RECIPES

PROGRAMS = Path(sys.executable).parent


def lint(*command: str, text: str | None = None) -> None:
    program, *arguments = command
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", sorted(RECIPES.rglob("*.sbatch")), ids=lambda path: path.parent.name)
def test_the_slurm_scripts_pass_shellcheck(script: Path) -> None:
    lint("shellcheck", str(script))


def test_the_commands_in_the_page_pass_shellcheck() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (RECIPES / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        lint("shellcheck", "--shell=sh", "-", text=block)


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]])
def test_the_python_scripts_pass_ruff(arguments: list[str]) -> None:
    lint("ruff", *arguments, "--config", str(ROOT / "src/python/pyproject.toml"), str(RECIPES))


ZIZMOR = Path(sys.executable).parent / "zizmor"
WORKFLOWS = ROOT / ".github/workflows"


def findings(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ZIZMOR), "--offline", "--quiet", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_workflows_have_no_findings() -> None:
    done = findings(*sorted(WORKFLOWS.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_action_without_a_commit_is_a_finding(tmp_path: Path) -> None:
    text = (WORKFLOWS / "ci.yml").read_text()
    pin = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
    assert pin in text
    broken = tmp_path / "ci.yml"
    broken.write_text(text.replace(pin, "actions/checkout@v7"))
    assert "unpinned-uses" in findings(broken).stdout
