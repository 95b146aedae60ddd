"""Writes the page of a run, which the command line `pare` draws."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pare_llm.pruning.report.prune_report import PruneReport


def write_page(report: PruneReport, path: Path, command: Sequence[str] | None) -> Path:
    """Write the page to `path`. `PruneReport.to_html` describes the arguments and the errors."""
    program = [*command] if command else ["pare"]
    if shutil.which(program[0]) is None:
        raise FileNotFoundError(
            f"to_html: the command line of Pare draws the page, and the program {program[0]!r} is not on the "
            'path; give command=, for example ["deno", "task", "pare"] in a clone of the repository'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report.save(folder)
        arguments = [*program, "report", folder, "--out", str(path.absolute())]
        finished = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"to_html: {' '.join(program)} report failed: {finished.stderr.strip()}")
    return path
