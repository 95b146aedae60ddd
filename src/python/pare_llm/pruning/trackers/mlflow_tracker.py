"""Logs a run to MLflow."""

from itertools import count

import mlflow

from pare_llm.pruning.prune_report import REPORT_FILE, LayerResult, PruneReport
from pare_llm.pruning.trackers.tracker import layer_metrics


class MlflowTracker:
    """A `Tracker` that logs the numbers of each layer as metrics, and the report as an artefact.

    The step of a metric is the number of layers before this one.
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

    def on_layer(self, result: LayerResult) -> None:
        """Log the metrics `relative_error`, `zeros` and `seconds` of a layer."""
        mlflow.log_metrics(layer_metrics(result), step=next(self._steps), run_id=self._run_id)

    def on_report(self, report: PruneReport) -> None:
        """Log `pare.json`."""
        mlflow.log_dict(report.to_dict(), REPORT_FILE, run_id=self._run_id)
