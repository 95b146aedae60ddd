"""The wheel: what it contains, that it can be installed, and that it is imported quickly."""

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pare_llm
import pytest
from conftest import ROOT

PACKAGE = ROOT / "src/python"

# Texts in the output of pip that mean that the package index cannot be reached.
OFFLINE = (
    "Max retries exceeded",
    "Failed to establish a new connection",
    "name resolution",
    "Network is unreachable",
)

# Prints the seconds of the import, and the large libraries that it has imported.
IMPORT = """
import sys, time
started = time.perf_counter()
import pare_llm
seconds = time.perf_counter() - started
from pare_llm import Pare
Pare("http://127.0.0.1:8000")
print(seconds, *({"torch", "transformers", "numpy", "peft"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PACKAGE)])
    (path,) = folder.glob("*.whl")
    return path


def run(command: Sequence[str]) -> str:
    """Run a program and return what it prints. If it fails, its output is in the error."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_wheel_contains_the_modules_and_nothing_else(wheel: Path) -> None:
    modules = {str(path.relative_to(PACKAGE)) for path in (PACKAGE / "pare_llm").rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "pare_llm/client/pare.py" in modules
    info = f"pare_llm-{pare_llm.__version__}.dist-info"
    metadata = {f"{info}/METADATA", f"{info}/RECORD", f"{info}/WHEEL"}
    assert names == modules | metadata | {"pare_llm/py.typed"}


def test_the_version_is_that_of_the_repository() -> None:
    assert pare_llm.__version__ == json.loads((ROOT / "deno.json").read_text())["version"]


def test_the_wheel_can_be_installed_and_imported_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    installing = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    done = subprocess.run(installing, capture_output=True, text=True)
    if any(text in done.stderr for text in OFFLINE):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    listed = run([python, "-m", "pip", "list", "--format", "freeze"])
    names = {line.split("==")[0] for line in listed.splitlines()}
    assert names - {"pip", "setuptools", "wheel"} == {"pare-llm", "safetensors"}
    seconds, *libraries = run([python, "-I", "-c", IMPORT]).split()
    assert libraries == []
    assert float(seconds) < 0.3


def test_the_import_is_quick_and_imports_no_large_library_where_they_are_installed() -> None:
    source = f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\n{IMPORT}"
    outputs = [run([sys.executable, "-c", source]).split() for _ in range(3)]
    assert all(libraries == [] for _, *libraries in outputs)
    # Other programs on the machine may delay one import, but hardly all of them.
    assert min(float(seconds) for seconds, *_ in outputs) < 0.3


def test_every_public_name_can_be_imported() -> None:
    assert "Pare" in dir(pare_llm)
    for name in pare_llm.__all__:
        assert getattr(pare_llm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Spare'"):
        pare_llm.Spare  # noqa: B018
