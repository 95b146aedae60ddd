"""A real Ray cluster of two nodes prunes models, although its workers are killed and its nodes are lost."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pare_llm.ray
import psutil
import pyarrow
import pyarrow.parquet
import pytest
import torch
from conftest import ROOT, HostProcess, wait_until
from pare_llm import Pare, PareError, PruneReport, TransportOptions, prune_folder
from pruning.pruning_support import tiny_model, token_batches
from ray.cluster_utils import Cluster
from ray.exceptions import TaskCancelledError, WorkerCrashedError
from ray_support import (
    LAYERS,
    ObservedHost,
    add_node,
    cluster_of_two_nodes,
    save_first_block,
    solving_workers,
    workers_of,
)
from transformers import AutoModelForCausalLM

UNREACHABLE = TransportOptions("http://127.0.0.1:9", retries=0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of_two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    tiny_model("opt", num_hidden_layers=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def expected(dense: Path, host: HostProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the same model that was pruned without Ray."""
    out = tmp_path_factory.mktemp("expected")
    prune_folder(dense, token_batches(2), Pare(host.url), out, progress=False)
    return out


def prune(dense: Path, out: Path, *hosts: str | TransportOptions, **options: Any) -> PruneReport:
    return pare_llm.ray.prune(dense, token_batches(2), out, hosts=hosts, progress=False, **options)


def require_same_bytes(out: Path, expected: Path) -> None:
    names = sorted(path.name for path in expected.glob("*.safetensors"))
    assert len(names) > 1
    for name in names:
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name


def test_both_nodes_solve_layers_at_the_same_time_and_the_bytes_are_those_of_a_run_without_ray(
    cluster: Cluster, dense: Path, expected: Path, host: HostProcess, tmp_path: Path
) -> None:
    both = threading.Barrier(2, timeout=60)
    # The barrier breaks the test if the second request comes only after the first answer.
    with ObservedHost(host.url, lambda number: number <= 2 and both.wait()) as observed:
        report = prune(dense, tmp_path, observed.url)
    assert observed.requests == len(report.layers) == LAYERS
    assert report.zeros == report.entries // 2
    require_same_bytes(tmp_path, expected)


def test_the_layer_of_a_killed_worker_is_solved_again(
    cluster: Cluster, dense: Path, expected: Path, host: HostProcess, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_a_worker(number: int) -> None:
        if number == 3:
            worker = solving_workers()[0]
            killed.append(worker.pid)
            worker.kill()

    with ObservedHost(host.url, kill_a_worker) as observed:
        prune(dense, tmp_path, observed.url)
    assert len(killed) == 1
    # A worker that is killed before its request has arrived costs no further request.
    assert LAYERS <= observed.requests <= LAYERS + 1
    require_same_bytes(tmp_path, expected)


def test_layers_at_a_host_that_cannot_be_reached_go_to_another_host(
    cluster: Cluster, dense: Path, expected: Path, host: HostProcess, tmp_path: Path
) -> None:
    prune(dense, tmp_path, UNREACHABLE, host.url)
    require_same_bytes(tmp_path, expected)


def test_the_layers_are_divided_among_the_hosts_of_a_task(
    cluster: Cluster, dense: Path, host: HostProcess, tmp_path: Path
) -> None:
    with (
        ObservedHost(host.url, lambda _: None) as first,
        ObservedHost(host.url, lambda _: None) as second,
    ):
        prune(dense, tmp_path, first.url, second.url)
    assert (first.requests, second.requests) == (LAYERS // 2, LAYERS // 2)


def test_a_host_that_never_answers_ends_the_run_after_all_repetitions(
    cluster: Cluster, dense: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError, match="Connection refused"):
        prune(dense, tmp_path, UNREACHABLE, max_retries=1)


def test_a_refused_layer_ends_the_run_with_the_error_of_the_host(
    cluster: Cluster, dense: Path, host: HostProcess, tmp_path: Path
) -> None:
    with pytest.raises(PareError) as failure:
        prune(dense, tmp_path, host.url, sparsity=1.5)
    assert (failure.value.code, failure.value.status) == ("invalid_parameter", 400)


def test_a_run_continues_with_its_journal(
    cluster: Cluster, dense: Path, expected: Path, host: HostProcess, tmp_path: Path
) -> None:
    first_host = HostProcess()
    options = {"journal": tmp_path / "journal", "max_retries": 0}

    def kill_the_host(number: int) -> None:
        if number == LAYERS - 2:
            first_host.kill()

    with (
        ObservedHost(first_host.url, kill_the_host) as observed,
        pytest.raises(ConnectionError),
    ):
        prune(dense, tmp_path / "out", TransportOptions(observed.url, retries=0), **options)
    with ObservedHost(host.url, lambda _: None) as observed:
        report = prune(dense, tmp_path / "out", observed.url, **options)
    assert 0 < observed.requests < LAYERS
    assert report.facts.resumed == 1
    require_same_bytes(tmp_path / "out", expected)


def test_cancelling_ends_the_layers_that_are_being_solved_and_those_that_are_queued(
    cluster: Cluster, host: HostProcess
) -> None:
    is_cancelled = threading.Event()
    with (
        ObservedHost(host.url, lambda _: is_cancelled.wait(60)) as observed,
        ThreadPoolExecutor(4) as threads,
    ):
        client = pare_llm.ray.RayClient([observed.url], {"pare_host": 1}, max_retries=5)
        weight = torch.ones(4, 4)
        layers = [threads.submit(client.prune_layer, weight, method="magnitude") for _ in range(4)]
        wait_until(lambda: observed.requests == 2)
        client.cancel()
        for layer in layers:
            assert isinstance(layer.exception(timeout=30), (TaskCancelledError, WorkerCrashedError))
        is_cancelled.set()
    assert observed.requests == 2


def test_no_host_is_refused(dense: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hosts: must be at least one, got 0"):
        prune(dense, tmp_path)


def test_the_layer_of_a_lost_node_is_solved_on_another_node(
    cluster: Cluster, dense: Path, expected: Path, host: HostProcess, tmp_path: Path
) -> None:
    lost = next(iter(cluster.worker_nodes))
    both = threading.Barrier(2, timeout=60)

    def lose_a_node(number: int) -> None:
        if number > 2:
            return
        both.wait()  # both nodes solve a layer now
        if number == 2:
            workers = workers_of(lost)
            cluster.remove_node(lost, allow_graceful=False)
            psutil.wait_procs(workers, timeout=60)
        both.wait()

    with ObservedHost(host.url, lose_a_node) as observed:
        prune(dense, tmp_path, observed.url)
    add_node(cluster)  # for the other tests
    assert observed.requests == LAYERS + 1
    require_same_bytes(tmp_path, expected)


def run_recipe(cluster: Cluster, home: Path, name: str, *arguments: object) -> str:
    """Run a recipe on the cluster, and return what it prints. Ray Train writes results to the home folder."""
    script = ROOT / "scripts/deploy/runs/python_package" / name
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "RAY_ADDRESS": cluster.address, "HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_model_that_the_recipe_prunes_keeps_its_zeros_while_two_workers_train_it(
    cluster: Cluster, host: HostProcess, tmp_path: Path
) -> None:
    dense, pruned, trained = (tmp_path / name for name in ("dense", "pruned", "trained"))
    save_first_block(dense)
    text = ROOT / "RELIABILITY.md"
    printed = run_recipe(cluster, tmp_path, "ray_prune.py", dense, text, pruned, host.url)
    assert f"221184 of 442368 weights in 6 layers are zero: {pruned}" in printed
    run_recipe(cluster, tmp_path, "ray_finetune.py", pruned, text, trained, 2)
    before = AutoModelForCausalLM.from_pretrained(pruned, dtype=torch.float32)
    after = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32)
    for layer in json.loads((pruned / "pare.json").read_text())["layers"]:
        weights = before.get_parameter(layer["name"]), after.get_parameter(layer["name"])
        assert torch.equal(*(weight == 0 for weight in weights))
        assert not torch.equal(*weights)


def test_the_recipe_calibrates_on_the_documents_of_a_corpus(
    cluster: Cluster, host: HostProcess, tmp_path: Path
) -> None:
    dense, corpus = tmp_path / "dense", tmp_path / "corpus"
    save_first_block(dense)
    corpus.mkdir()
    text = (ROOT / "RELIABILITY.md").read_text()
    long = [text[start : start + 2000] for start in range(0, 20 * 600, 600)]
    for file in range(2):
        documents = pyarrow.table({"text": [*long, "too short"], "url": [""] * (len(long) + 1)})
        pyarrow.parquet.write_table(documents, corpus / f"{file}.parquet")
    printed = run_recipe(cluster, tmp_path, "ray_prune.py", dense, corpus, tmp_path / "pruned", host.url)
    assert "221184 of 442368 weights in 6 layers are zero" in printed
    (corpus / "1.parquet").unlink()
    with pytest.raises(AssertionError, match="has 20 documents of 256 tokens or more, but 32 are needed"):
        run_recipe(cluster, tmp_path, "ray_prune.py", dense, corpus, tmp_path / "other", host.url)
