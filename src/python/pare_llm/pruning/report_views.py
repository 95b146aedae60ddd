"""The summary and the table of a report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from pare_llm.layers.linear_layer import list_names

if TYPE_CHECKING:
    from pare_llm.pruning.prune_report import LayerResult, PruneReport

_COLUMNS = ("layer", "shape", "method", "pattern", "zeros", "relative error", "seconds")

MAX_ROWS = 100
"""The most layers that the table shows. A notebook stays readable with this many rows."""


_WORST = 3
"""How many layers with large errors the summary names."""


def _totals(report: PruneReport) -> str:
    return (
        f"{report.sparsity:.2%} of the {report.entries:,} weights in {len(report.layers)} layers of "
        f"{report.facts.model_name} are zero ({report.seconds:.1f} s)."
    )


def report_lines(report: PruneReport) -> list[str]:
    """Return the lines of the summary."""
    facts, first = report.facts, report.layers[0].report
    parameters = ", ".join(f"{name} {value}" for name, value in facts.parameters.items())
    lines = [
        _totals(report),
        f"parameters: {parameters:.300}",
        f"calibration: {facts.samples} windows of up to {facts.seqlen} tokens, "
        f"of which {facts.validation_samples} are held out",
        f"solved on: {first['backend']} ({first['adapter']})",
    ]
    errors = [(layer.report["relative_error"] or 0.0, layer.name) for layer in report.layers]
    for error, name in sorted(errors, reverse=True)[:_WORST]:
        if error > 0:
            lines.append(f"largest relative errors: {error:.4g} in {name}")
    if facts.skipped:
        lines.append(f"left dense: {len(facts.skipped)} matrices, {list_names(facts.skipped)}")
    if starved := report.starved:
        lines.append(f"warning: {starved_text(starved)}")
    return lines


def starved_text(starved: Sequence[LayerResult]) -> str:
    """Return the sentence about layers that few calibration tokens reached."""
    names = list_names([layer.name for layer in starved])
    return (
        f"fewer calibration tokens than columns reached {len(starved)} layers of experts, {names}; more or "
        "longer batches would prune them better"
    )


def report_table(report: PruneReport) -> str:
    """Return the totals of the run and a row for each layer."""
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "".join(_row(layer) for layer in report.layers[:MAX_ROWS])
    hidden = len(report.layers) - MAX_ROWS
    more = f"<p>{hidden} more layers are in <code>report.layers</code>.</p>" if hidden > 0 else ""
    return (
        f"<p>{escape(_totals(report))}</p>"
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
