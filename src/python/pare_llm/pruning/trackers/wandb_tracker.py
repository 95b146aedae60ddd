"""Logs a run to Weights & Biases."""

import json
from collections.abc import Mapping
from typing import Any

import wandb

from pare_llm.pruning.prune_report import REPORT_FILE, LayerResult, PruneReport
from pare_llm.pruning.trackers.tracker import layer_metrics, run_metrics


class WandbTracker:
    """A `Tracker` that logs parameters, the numbers of each layer, totals, and the report as an artefact."""

    def __init__(self, run: Any = None) -> None:
        """Log to `run`, by default the current one. Raises a ValueError if `wandb.init` was not called."""
        self._run: Any = run or wandb.run
        if self._run is None:
            raise ValueError("WandbTracker: there is no run of wandb; call wandb.init() or give run=")

    def on_start(self, parameters: Mapping[str, Any]) -> None:
        """Write the parameters into the configuration of the run, under `pare`."""
        self._run.config.update({"pare": dict(parameters)}, allow_val_change=True)

    def on_layer(self, result: LayerResult) -> None:
        """Log the name, relative error, zeros and seconds of a layer, with the prefix `pare/layer/`."""
        values = {"name": result.name, **layer_metrics(result)}
        self._run.log({f"pare/layer/{name}": value for name, value in values.items()})

    def on_report(self, report: PruneReport) -> None:
        """Write `pare/weights`, `pare/zeros`, `pare/sparsity` and `pare/seconds` of the run into its summary.

        `pare.json` is logged as an artefact of the type `pare-report`.
        """
        self._run.summary.update({f"pare/{name}": value for name, value in run_metrics(report).items()})
        artefact = wandb.Artifact(f"pare-report-{self._run.id}", type="pare-report")
        with artefact.new_file(REPORT_FILE) as file:
            json.dump(report.to_dict(), file, indent=2)
        self._run.log_artifact(artefact)
