"""The recipes pass the linters of their languages."""

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
