"""Compares `prune_` with `pare prune` on the trained models, and measures the memory of `prune_folder`.

    PYTHONPATH=src/python .cache/peers/bin/python scripts/bench/python_prune/main.py

Both programs prune to 50 % with their default method ALPS, on the same calibration windows, through a host
with the backend `cpu`. `prune_` runs the model in PyTorch. It is tried in several settings of threads, and
the fastest one is reported with the times of all. transformers measures all perplexities in float32, on the
first windows of the evaluation text. The results are written to `scripts/bench/results/python_prune.json`.
`deno task peers:venv` installs the libraries.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import transformers
from thread_settings import environment, thread_settings
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[3]
DENO = ["deno"] if shutil.which("deno") else ["npx", "-y", "deno@2.9.6"]
PARE = [*DENO, "run", "-A", "--no-check", "src/cli/main.ts"]
RESULTS = ROOT / "scripts/bench/results/python_prune.json"
MODELS = ("opt-sotu", "llama-sotu")
SAMPLES, SEQLEN, EVALUATION_WINDOWS = 64, 256, 128


def perplexities(folders: list[Path], windows: torch.Tensor, work: Path) -> list[float]:
    """Return the perplexity of each checkpoint, which transformers measures in float32."""
    file = work / "windows.json"
    file.write_text(json.dumps(windows.tolist()))
    script = ROOT / "scripts/bench/peers/transformers_perplexity.py"
    command = [sys.executable, "-W", "ignore", str(script), str(file), *map(str, folders)]
    finished = subprocess.run(command, env=environment({}), capture_output=True, text=True, check=True)
    values: list[float] = json.loads(finished.stdout.splitlines()[-1])
    return values


def tokens_of(model: Path, text: Path) -> torch.Tensor:
    """Return the token ids of a text."""
    return torch.tensor(Tokenizer.from_file(str(model / "tokenizer.json")).encode(text.read_text()).ids)


def compare(name: str, url: str, texts: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Prune a model with both programs, and return the perplexities and the seconds."""
    dense = ROOT / "tests/fixtures/models" / name
    by_command = folder / f"{name}-command"
    started = time.perf_counter()
    arguments = [
        "--calibration",
        str(texts["calibration"]),
        "--samples",
        str(SAMPLES),
        "--seqlen",
        str(SEQLEN),
    ]
    server = ["--server", url, "--backend", "cpu"]
    command = [*PARE, "prune", str(dense), "--out", str(by_command), *arguments, *server]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    command_seconds = time.perf_counter() - started

    tokens = tokens_of(dense, texts["calibration"])
    step = len(tokens) // SAMPLES
    windows = torch.stack([tokens[i * step : i * step + SEQLEN] for i in range(SAMPLES)])
    windows_file = folder / f"{name}-calibration.json"
    windows_file.write_text(json.dumps(windows.tolist()))
    runs = {
        title: prune_in_place(dense, windows_file, url, folder / f"{name}, {title}", variables)
        for title, variables in thread_settings(os.cpu_count() or 1).items()
    }
    setting = min(runs, key=lambda title: runs[title]["seconds"])
    fastest = runs[setting]

    evaluation = tokens_of(dense, texts["evaluation"])[: EVALUATION_WINDOWS * SEQLEN].view(-1, SEQLEN)
    values = perplexities([dense, by_command, folder / f"{name}, {setting}"], evaluation, folder)
    return {
        "model": name,
        "adapter": fastest["adapter"],
        "method": fastest["method"],
        "sparsity": fastest["sparsity"],
        "perplexity": dict(zip(("dense", "command", "python"), values, strict=True)),
        "seconds": {"command": command_seconds, "python": fastest["seconds"]},
        "setting": setting,
        "trials": [{"title": title, "seconds": run["seconds"]} for title, run in runs.items()],
    }


def prune_in_place(
    dense: Path, windows: Path, url: str, out: Path, variables: dict[str, str]
) -> dict[str, Any]:
    """Run `in_place.py` in a setting of threads, and return its result."""
    script = Path(__file__).with_name("in_place.py")
    command = [sys.executable, "-B", "-W", "ignore", str(script), str(dense), str(windows), url, str(out)]
    finished = subprocess.run(
        command, env=environment(variables), stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def measure_memory(url: str) -> dict[str, Any]:
    """Return the numbers of bytes of `block_memory.py`."""
    # The allocator of glibc gives freed memory back at once with these settings, so the peak is that of the
    # run.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    script = Path(__file__).with_name("block_memory.py")
    shape = ["--hidden", "1024", "--intermediate", "2816", "--blocks", "8", "--method", "magnitude"]
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), url, *shape],
        env=environment(allocator),
        capture_output=True,
        text=True,
        check=True,
    )
    sizes: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return sizes


def describe_machine() -> dict[str, Any]:
    """Describe this machine as the other benches do."""
    processors = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", processors.read_text()) if processors.exists() else None
    version = subprocess.run([*DENO, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cpu": found[1] if found else platform.machine(),
        "cores": os.cpu_count(),
        "memoryBytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os": f"{platform.system().lower()} {platform.release()}",
        "deno": version.split()[1],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "blas": torch.__config__.show(),
    }


def main() -> None:
    """Run everything, and write the results."""
    host = subprocess.Popen(
        [*PARE, "serve", "--backend", "cpu", "--json", "--port", "0"],
        cwd=ROOT,
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        url = json.loads(host.stdout.readline())["url"]
        with tempfile.TemporaryDirectory(prefix="pare-bench-") as folder:
            command = [*DENO, "run", "-A", "scripts/fixtures/sotu_text.ts", folder]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            texts = {part: Path(folder) / f"{part}.txt" for part in ("calibration", "evaluation")}
            models = []
            for name in MODELS:
                models.append(compare(name, url, texts, Path(folder)))
                print(json.dumps(models[-1]), file=sys.stderr)
        memory = measure_memory(url)
    finally:
        os.killpg(host.pid, 15)
    results = {
        "date": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "machine": describe_machine(),
        "loadAverage": os.getloadavg()[0],
        "adapter": models[0]["adapter"],
        "samples": SAMPLES,
        "seqlen": SEQLEN,
        "evaluationWindows": EVALUATION_WINDOWS,
        "models": models,
        "memory": memory,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
