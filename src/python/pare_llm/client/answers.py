"""Reads the texts, the JSON and the reports of servers, which may be malformed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

# A refusal of a host quotes at most 20 items of 200 characters.
_MAX_LENGTH = 5000


def printable(text: str, max_length: int = _MAX_LENGTH) -> str:
    """Escape control characters, which could forge lines of a log, and cut a text that is too long."""
    start = text[: max_length + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    return escaped if len(escaped) <= max_length else f"{escaped[: max_length - 1]}…"


def parse_answer(body: bytearray, path: str, expected: str, members: Iterable[str]) -> dict[str, Any]:
    """Parse a JSON object with these members. The ValueError names `path`, and what is `expected`."""
    try:
        answer: Any = json.loads(body)
    except ValueError as error:
        raise ValueError(f"answer of {path}: is not {expected}") from error
    if not isinstance(answer, dict) or any(name not in answer for name in members):
        raise ValueError(f"answer of {path}: is not {expected}")
    return answer


class Seconds(TypedDict):
    """The seconds of the phases of a request, as the host measured them."""

    read: float
    """From the first byte until all tensors are on the device."""
    factor: float
    solve: float
    refit: float
    total: float
    """From the start of the request to the start of the answer, including waits."""


class _ValidatedChange(TypedDict, total=False):
    """The member that needs a validation target."""

    validation: float | None
    """The change by the answered weights on the validation statistics and the validation target."""


class TargetChange(_ValidatedChange):
    """The change of Σ‖Mx − y‖² for weights M from the weight W before pruning, divided by tr(WHWᵀ)."""

    result: float | None
    """The change by the answered weights."""
    step: float | None
    """The change by the step towards the target."""


class _Optional(TypedDict, total=False):
    """The members that need a target or validation statistics."""

    shrinkage: float
    """The share s by which `damping="auto"` shrank the Hessian towards its diagonal for the solve."""

    target_step: float
    """The size of the step towards the target."""
    target_change: TargetChange
    """The change of the error against the target."""
    validation_loss: float | None
    """tr(ΔHvΔᵀ), with the validation statistics Hv."""
    validation_error: float | None
    """validation_loss / tr(WHvWᵀ). None with `error=False`."""
    validation_choice: str
    """The mask of the answer: `method`, or `magnitude` if its validation loss was smaller."""
    nearest_rows: int
    """The number of rows with the original weights, pruned and rounded to nearest."""


class Report(_Optional):
    """The report of one solved layer."""

    method: str
    """The requested method."""
    rows: int
    """The number of output features."""
    cols: int
    """The number of input features."""
    pattern: str
    """`unstructured`, `n:m` or `columns`."""
    sparsity: float
    """The fraction of pruned entries."""
    zeros: int
    """The number of pruned entries."""
    loss: float | None
    """tr(ΔHΔᵀ), with the change Δ of the weights and the undamped statistics H. None without statistics."""
    relative_error: float | None
    """loss / tr(WHWᵀ), with the weight W before pruning. None without statistics and with `error=False`."""
    damping: float | None
    """The λ that was used. It exceeds the requested λ if the factorisation was retried."""
    iterations: int
    """The iterations that searched for the mask, for `alps`."""
    refit_steps: int
    """The conjugate-gradient steps of the result."""
    notes: list[str]
    """Remarks on the solve, as sentences."""
    backend: str
    """`webgpu` or `cpu`. Without a host, the type of the device of torch."""
    adapter: str
    """The name of the device."""
    seconds: Seconds
    factor_reused: bool
    """Whether a stored factor was used."""


# The members that a host may leave out, with their values.
_DEFAULTS: dict[str, object] = {"iterations": 0, "refit_steps": 0, "notes": []}


def parse_report(text: str | None) -> Report:
    """Parse the JSON text of a report, and escape control characters. Raise a ValueError if it is none."""
    problem = "answer of /v1/layers: __metadata__.report is missing or not a report"
    try:
        report: Any = json.loads(text or "")
    except ValueError as error:
        raise ValueError(problem) from error
    if not isinstance(report, dict):
        raise ValueError(problem)
    for name, value in _DEFAULTS.items():
        report.setdefault(name, value)
    missing = [name for name in sorted(Report.__required_keys__) if name not in report]
    if missing:
        raise ValueError(f"{problem}: {', '.join(missing)} missing")
    for name in ("method", "pattern", "backend", "adapter", "validation_choice"):
        if name in report:
            report[name] = printable(str(report[name]))
    if not isinstance(report["notes"], list):
        raise ValueError(f"{problem}: notes is not a list")
    report["notes"] = [printable(str(note)) for note in report["notes"]]
    return cast(Report, report)
