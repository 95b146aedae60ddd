"""The wheel and the source distribution: their contents, their installation, and a quick import."""

import ast
import json
import re
import subprocess
import sys
import tarfile
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
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the source distribution, and the wheel from it."""
    folder = tmp_path_factory.mktemp("distributions")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(PACKAGE)])
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "source": source}


def run(command: Sequence[str]) -> str:
    """Run a program and return what it prints. If it fails, its output is in the error."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_wheel_contains_the_modules_and_the_licence_and_nothing_else(
    distributions: dict[str, Path],
) -> None:
    sources = [*(PACKAGE / "pare_llm").rglob("*.py"), PACKAGE / "pare_llm/__init__.pyi"]
    modules = {str(path.relative_to(PACKAGE)) for path in sources}
    licence = f"pare_llm-{pare_llm.__version__}.dist-info/licenses/LICENSE"
    with zipfile.ZipFile(distributions["wheel"]) as archive:
        names = set(archive.namelist())
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert "pare_llm/client/pare.py" in modules
    info = f"pare_llm-{pare_llm.__version__}.dist-info"
    metadata = {f"{info}/METADATA", f"{info}/RECORD", f"{info}/WHEEL"}
    assert names == modules | metadata | {"pare_llm/py.typed", licence}


def test_the_source_distribution_contains_the_licence_and_the_readme(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions["source"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "pare_llm/client/pare.py", "pare_llm/py.typed"} <= names


def test_no_link_of_the_page_on_a_package_index_leads_into_the_repository() -> None:
    links = re.findall(r"\]\(([^)]*)\)", (PACKAGE / "README.md").read_text())
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_the_version_is_that_of_the_repository() -> None:
    assert pare_llm.__version__ == json.loads((ROOT / "deno.json").read_text())["version"]


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_a_distribution_can_be_installed_and_imported_in_an_empty_environment(
    distributions: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    installing = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        str(distributions[kind]),
    ]
    done = subprocess.run(installing, capture_output=True, text=True)
    if any(text in done.stderr for text in OFFLINE):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    listed = run([python, "-m", "pip", "list", "--format", "freeze"])
    names = {line.split("==")[0] for line in listed.splitlines()}
    assert names - {"pip", "setuptools", "wheel"} == {"pare-llm", "safetensors", "urllib3"}
    seconds, *libraries = run([python, "-I", "-c", IMPORT]).split()
    assert libraries == []
    assert float(seconds) < 0.3
    refused = subprocess.run([python, "-c", "from pare_llm import prune_"], capture_output=True, text=True)
    assert (
        'pare_llm.prune_ needs torch, which is not installed: pip install "pare-llm[torch]"' in refused.stderr
    )


@pytest.mark.parametrize(
    ("library", "code"),
    [
        ("torch", "from pare_llm import keep_zeros"),
        ("transformers", "from pare_llm import prune_folder"),
        ("peft", "from pare_llm import mask_lora_"),
        ("mlflow", "from pare_llm import MlflowTracker"),
        ("wandb", "from pare_llm import WandbTracker"),
        ("ray", "import pare_llm.ray"),
    ],
)
def test_an_error_without_a_library_names_the_extra_that_installs_it(library: str, code: str) -> None:
    source = f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); sys.modules[{library!r}] = None; {code}"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    expected = f' needs {library}, which is not installed: pip install "pare-llm[{library}]"'
    assert done.stderr.splitlines()[-1].endswith(expected)


def test_hasattr_answers_without_a_library() -> None:
    source = f"""
import sys; sys.path.insert(0, {str(PACKAGE)!r}); sys.modules["torch"] = None
import pare_llm
print(hasattr(pare_llm, "prune_"), hasattr(pare_llm, "Pare"))
try: pare_llm.prune_
except AttributeError as error: print(error, type(error.__cause__).__name__)
"""
    answer, message = run([sys.executable, "-c", source]).splitlines()
    assert answer == "False True"
    expected = 'pare_llm.prune_ needs torch, which is not installed: pip install "pare-llm[torch]"'
    assert message == f"{expected} ModuleNotFoundError"


def test_the_import_is_quick_and_imports_no_large_library_where_they_are_installed() -> None:
    source = f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\n{IMPORT}"
    outputs = [run([sys.executable, "-c", source]).split() for _ in range(3)]
    assert all(libraries == [] for _, *libraries in outputs)
    # Other programs on the machine may delay one import, but hardly all of them.
    assert min(float(seconds) for seconds, *_ in outputs) < 0.3


def test_every_name_of_the_stub_can_be_imported() -> None:
    stub = ast.parse((PACKAGE / "pare_llm/__init__.pyi").read_text())
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(["__version__", *names]) == dir(pare_llm)
    for name in pare_llm.__all__:
        assert getattr(pare_llm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Spare'"):
        pare_llm.Spare  # noqa: B018
