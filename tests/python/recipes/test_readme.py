"""The Python code on the pages is a part of an example, runs as it is, or has calls with valid arguments."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pare_llm.ray
from conftest import MODELS, ROOT, HostProcess
from recipes_support import environment

PAGE = ROOT / "src/python/README.md"
EXAMPLES = [path.read_text() for path in (ROOT / "src/python/examples").glob("*.py")]


def python_blocks(page: Path) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def run(code: str, folder: Path, host: HostProcess) -> str:
    """Run a program in a folder, with the host of the tests in place of the one on the page."""
    done = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8000", host.url)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_blocks_of_the_page_are_parts_of_examples_or_run(host: HostProcess, tmp_path: Path) -> None:
    parts = [block for block in python_blocks(PAGE) if any(block in example for example in EXAMPLES)]
    assert len(parts) == 2
    whole, one_layer, loaders, onnx, ray = (block for block in python_blocks(PAGE) if block not in parts)
    (tmp_path / "text.txt").write_text((ROOT / "CHANGELOG.md").read_text() * 2)
    printed = run(whole.replace("facebook/opt-125m", str(MODELS / "opt-sotu")), tmp_path, host)
    assert "50.00% of the 1,769,472 weights in 24 layers of opt-sotu are zero" in printed
    assert (tmp_path / "pruned/model.safetensors").exists()
    shutil.rmtree(tmp_path / "pruned")
    assert re.search(r"^0\.\d+ tensor\(0\.5000\)$", run(one_layer, tmp_path, host), re.MULTILINE)
    shutil.copytree(MODELS / "opt-sotu", tmp_path / "pruned")
    assert "'model.decoder.layers.0.fc1.weight': 0" in run(loaders, tmp_path, host)
    (call,) = (node for node in ast.walk(ast.parse(onnx)) if isinstance(node, ast.Call))
    inspect.signature(pare_llm.export_onnx).bind(*call.args)
    (call,) = (node for node in ast.walk(ast.parse(ray)) if isinstance(node, ast.Call))
    keywords = [keyword.arg for keyword in call.keywords]
    bound = inspect.signature(pare_llm.ray.prune).bind(*call.args, **dict.fromkeys(map(str, keywords)))
    assert list(bound.arguments) == ["model_folder", "batches", "out", "journal", "parameters"]


def test_the_ten_lines_of_the_first_page_prune_a_model(host: HostProcess, tmp_path: Path) -> None:
    (block,) = python_blocks(ROOT / "README.md")
    assert len([line for line in block.splitlines() if line]) <= 10
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "README.md").symlink_to(ROOT / "README.md")
    assert "884736 of 1769472 weights are zero\n" in run(block, tmp_path, host)
    assert (tmp_path / "out/pruned_in_python/model.safetensors").exists()
