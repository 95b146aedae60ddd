"""The interface by which a run reports to a program that tracks experiments."""

from collections.abc import Mapping
from typing import Any, Protocol

from pare_llm.pruning.prune_report import LayerResult, PruneReport


class Tracker(Protocol):
    """Receives the progress of a run. On several ranks, only the tracker of rank 0 is called.

    An error of the tracker ends the run, which continues from its journal.
    """

    def on_start(self, parameters: Mapping[str, Any]) -> None:
        """Take the parameters of the run, as `pare.json` has them, before any calibration."""

    def on_layer(self, result: LayerResult) -> None:
        """Take the result of a layer, after its weight was replaced."""

    def on_report(self, report: PruneReport) -> None:
        """Take the report when the run has ended."""


def run_metrics(report: PruneReport) -> dict[str, float]:
    """Return the totals of a run over its pruned layers."""
    names = ("weights", "zeros", "sparsity", "seconds")
    return dict(zip(names, (report.entries, report.zeros, report.sparsity, report.seconds), strict=True))


def layer_metrics(result: LayerResult) -> dict[str, float]:
    """Return the numbers of a layer: its zeros, its seconds, and its relative error if it has statistics."""
    error = result.report["relative_error"]
    metrics: dict[str, float] = {"zeros": result.report["zeros"], "seconds": result.seconds}
    return metrics if error is None else {"relative_error": error, **metrics}
