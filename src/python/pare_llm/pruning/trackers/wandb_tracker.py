"""Logs a run to Weights & Biases."""

import json
from typing import Any

import wandb

from pare_llm.pruning.prune_report import REPORT_FILE, LayerResult, PruneReport
from pare_llm.pruning.trackers.tracker import layer_metrics


class WandbTracker:
    """A `Tracker` that logs the name and the numbers of each layer, and the report as an artefact."""

    def __init__(self, run: Any = None) -> None:
        """Log to `run`, by default the current one. Raises a ValueError if `wandb.init` was not called."""
        self._run: Any = run or wandb.run
        if self._run is None:
            raise ValueError("WandbTracker: there is no run of wandb; call wandb.init() or give run=")

    def on_layer(self, result: LayerResult) -> None:
        """Log `pare/layer`, `pare/relative_error`, `pare/zeros` and `pare/seconds` of a layer."""
        values = {"layer": result.name, **layer_metrics(result)}
        self._run.log({f"pare/{name}": value for name, value in values.items()})

    def on_report(self, report: PruneReport) -> None:
        """Log `pare.json` as an artefact of the type `pare-report`."""
        artefact = wandb.Artifact(f"pare-report-{self._run.id}", type="pare-report")
        with artefact.new_file(REPORT_FILE) as file:
            json.dump(report.to_dict(), file, indent=2)
        self._run.log_artifact(artefact)
