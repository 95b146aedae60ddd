"""Renders the report of a run as a small HTML table, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pare_llm.pruning.report.prune_report import LayerResult, PruneReport

_COLUMNS = ("layer", "shape", "method", "pattern", "zeros", "relative error", "seconds")

MAX_ROWS = 100
"""The most layers that the table shows. A notebook stays readable with this many rows."""


def report_table(report: PruneReport) -> str:
    """Return the totals of the run and a row for each layer."""
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "".join(_row(layer) for layer in report.layers[:MAX_ROWS])
    hidden = len(report.layers) - MAX_ROWS
    more = f"<p>{hidden} more layers are in <code>report.layers</code>.</p>" if hidden > 0 else ""
    return (
        f"<p>{report.sparsity:.2%} of the {report.entries:,} weights in {len(report.layers)} layers of "
        f"{escape(report.facts.model_name)} are zero ({report.seconds:.1f} s).</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"
    )


def _row(layer: LayerResult) -> str:
    report = layer.report
    error = report["relative_error"]
    cells = (
        layer.name,
        f"{report['rows']} x {report['cols']}",
        report["method"],
        report["pattern"],
        f"{report['sparsity']:.2%}",
        "" if error is None else f"{error:.4g}",
        f"{layer.seconds:.3f}",
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
