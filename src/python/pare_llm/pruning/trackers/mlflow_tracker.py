"""Logs a run to MLflow."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import mlflow

from pare_llm.pruning.prune_report import REPORT_FILE, LayerResult, PruneReport
from pare_llm.pruning.trackers.tracker import layer_metrics, run_metrics


class MlflowTracker:
    """A `Tracker` that logs parameters, the numbers of each layer, totals, and the report as an artefact.

    The step of a metric `layer/…` is the number of layers before this one. The metrics of the totals have no
    step.
    """

    def __init__(self, run_id: str | None = None) -> None:
        """Log to the run `run_id`, by default the active one. Raises a ValueError if no run is active."""
        if run_id is None:
            active = mlflow.active_run()
            if active is None:
                raise ValueError("MlflowTracker: no run is active; call mlflow.start_run() or give run_id=")
            run_id = active.info.run_id
        self._run_id = run_id
        self._steps = count()

    def on_start(self, parameters: Mapping[str, Any]) -> None:
        """Log the parameters with the prefix `pare/`, because a run may have others."""
        mlflow.log_params({f"pare/{name}": value for name, value in parameters.items()}, run_id=self._run_id)

    def on_layer(self, result: LayerResult) -> None:
        """Log the metrics `layer/relative_error`, `layer/zeros` and `layer/seconds` of a layer."""
        values = {f"layer/{name}": value for name, value in layer_metrics(result).items()}
        mlflow.log_metrics(values, step=next(self._steps), run_id=self._run_id)

    def on_report(self, report: PruneReport) -> None:
        """Log the metrics `weights`, `zeros`, `sparsity` and `seconds` of the run, and `pare.json`."""
        mlflow.log_metrics(run_metrics(report), run_id=self._run_id)
        mlflow.log_dict(report.to_dict(), REPORT_FILE, run_id=self._run_id)
