"""MLflow and Weights & Biases get the numbers of each layer and the report, without a network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pytest
import wandb
from pare_llm import LayerResult, MlflowTracker, PruneReport, WandbTracker, prune_, prune_folder
from pruning_support import LocalClient, tiny_model, token_batches
from ranks import run_on_ranks
from torch import distributed as dist


def prune_with(tracker: Any) -> PruneReport:
    options = {"method": "wanda", "progress": False, "tracker": tracker}
    return prune_(tiny_model("llama"), token_batches(2), LocalClient(), **options)


def test_mlflow_has_the_metrics_of_each_layer_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with pytest.raises(ValueError, match="no run is active"):
        MlflowTracker()
    with mlflow.start_run() as run:
        report = prune_with(MlflowTracker())
    client = mlflow.MlflowClient()
    logged = client.get_run(run.info.run_id).data
    given = {"pare/method": "wanda", "pare/sparsity": "0.5", "pare/token_weights": "unit"}
    assert given.items() <= logged.params.items()
    totals = {"weights": report.entries, "zeros": report.zeros, "sparsity": 0.5, "seconds": report.seconds}
    assert {name: logged.metrics[name] for name in totals} == totals
    for name in ("zeros", "seconds"):
        history = client.get_metric_history(run.info.run_id, f"layer/{name}")
        assert [point.step for point in history] == list(range(21))
        found = [layer.report["zeros"] if name == "zeros" else layer.seconds for layer in report.layers]
        assert [point.value for point in history] == found
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="pare.json")
    assert json.loads(Path(path).read_text()) == json.loads(json.dumps(report.to_dict()))


def test_wandb_has_the_numbers_of_each_layer_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    with pytest.raises(ValueError, match="there is no run of wandb"):
        WandbTracker()
    with wandb.init(mode="offline", dir=tmp_path) as run:
        tracker = WandbTracker()
        logged: list[dict[str, Any]] = []
        log = run.log
        monkeypatch.setattr(run, "log", lambda values: (logged.append(values), log(values)))
        report = prune_with(tracker)
        assert run.config["pare"]["token_weights"] == "unit"
        assert run.summary["pare/zeros"] == report.zeros
        assert run.summary["pare/sparsity"] == 0.5
    for values, layer in zip(logged, report.layers, strict=True):
        assert values == {
            "pare/layer/name": layer.name,
            "pare/layer/zeros": layer.report["zeros"],
            "pare/layer/seconds": layer.seconds,
        }
    wandb.teardown()  # the process of wandb writes the rest of the file when it ends
    (stored,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = stored.read_bytes()
    assert b"pare/layer/name" in content
    assert b"pare.json" in content
    assert b"pare-report" in content


class Recorder:
    """A tracker that remembers its calls, and fails at the layer with the number `failing`."""

    def __init__(self, failing: int = -1) -> None:
        self.names: list[str] = []
        self.reports: list[PruneReport] = []
        self.started: list[Mapping[str, Any]] = []
        self._failing = failing

    def on_start(self, parameters: Mapping[str, Any]) -> None:
        assert not self.names
        self.started.append(parameters)

    def on_layer(self, result: LayerResult) -> None:
        if len(self.names) == self._failing:
            raise ConnectionError("the tracker is gone")
        self.names.append(result.name)

    def on_report(self, report: PruneReport) -> None:
        self.reports.append(report)


def test_prune_folder_reports_to_a_tracker(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "dense")
    tracker = Recorder()
    options = {"method": "wanda", "progress": False, "tracker": tracker}
    report = prune_folder(tmp_path / "dense", token_batches(2), LocalClient(), tmp_path / "out", **options)
    assert tracker.names == [layer.name for layer in report.layers]
    assert tracker.reports == [report]
    assert tracker.started == [report.to_dict()["parameters"]]


def prune_on_ranks() -> tuple[int, str]:
    """Prune with a tracker on rank 0, and with one that fails. Return the number of layers, and the error."""
    tracker = Recorder()
    prune_with(tracker if dist.get_rank() == 0 else None)
    try:
        prune_with(Recorder(failing=3))
    except Exception as error:
        return len(tracker.names), repr(error)
    return len(tracker.names), ""


def test_only_the_first_rank_reports_and_its_failure_ends_all() -> None:
    (first, on_first), (second, on_second) = run_on_ranks(prune_on_ranks, 2)
    assert (first, second) == (21, 0)
    assert on_first == "ConnectionError('the tracker is gone')"
    assert on_second == "RuntimeError('rank 0 of 2 failed: ConnectionError: the tracker is gone')"
