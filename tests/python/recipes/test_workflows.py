"""The workflows of GitHub pass a check of their security."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

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
