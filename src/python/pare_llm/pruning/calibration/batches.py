"""The calibration batches: their arguments for the model, their padding and their fingerprint."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from numbers import Real
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor

from pare_llm.arguments import require
from pare_llm.pruning.calibration.calls import TensorMover
from pare_llm.pruning.calibration.windows import held_out_positions
from pare_llm.pruning.files import tensor_bytes
from pare_llm.pruning.ranks import Ranks

BatchInput = Tensor | Sequence[Tensor] | Mapping[str, Any]
"""The `input_ids` (windows, tokens) of a model, also in a tuple of one tensor, or its keyword arguments."""

Validation = float | Iterable[BatchInput]
"""The share of the windows that is held out, or batches that are held out."""


@dataclass(frozen=True)
class Batch:
    """The arguments of one forward pass of the model, with one or more windows of tokens."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_held_out: bool = False
    """Whether the batch is in the validation statistics, and not among the inputs that are fitted."""

    @property
    def padding(self) -> Tensor | None:
        """The attention mask (batch, tokens), which is 0 at padding. None if the batch has none."""
        mask = self.kwargs.get("attention_mask")
        return mask if isinstance(mask, Tensor) and mask.ndim == 2 else None

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of windows and of tokens per window, of `input_ids` or else of the first tensor."""
        values = [self.kwargs.get("input_ids"), *self.args, *self.kwargs.values()]
        tensor = next((value for value in values if isinstance(value, Tensor)), None)
        if tensor is None or tensor.ndim == 0:
            return 0, 0
        return tensor.shape[0], tensor.shape[1] if tensor.ndim > 1 else 1

    @property
    def windows(self) -> int:
        return self.shape[0]

    def take(self, windows: Sequence[int]) -> "Batch":
        """Return a batch of some windows. A tensor is divided if its first dimension counts the windows."""

        def part(value: Any) -> Any:
            is_divided = isinstance(value, Tensor) and value.ndim > 0 and len(value) == self.windows
            return value[list(windows)] if is_divided else value

        kwargs = {name: part(value) for name, value in self.kwargs.items()}
        return replace(self, args=tuple(map(part, self.args)), kwargs=kwargs)

    def split(self, windows: int) -> "list[Batch]":
        """Return batches of at most `windows` windows."""
        if self.windows <= windows:
            return [self]
        starts = range(0, self.windows, windows)
        return [self.take(range(start, min(start + windows, self.windows))) for start in starts]

    def on(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on `device`."""
        mover = TensorMover(device)
        return Batch(mover.move(self.args), mover.move(self.kwargs), self.is_held_out)


def read_batches(batches: Iterable[BatchInput], validation: Validation, ranks: Ranks) -> list[Batch]:
    """Read all batches: tensors, the first argument of the model, or mappings, without labels.

    The held-out batches are the last ones. If `validation` is a share, windows of `batches` are held out,
    evenly spaced over the windows of all ranks: the first batch of each rank, then the second batch of each
    rank, and so on. Every rank has to call this function.
    """
    fitted = ranks.together(lambda: _read_all(batches, "batches"))
    if is_iterable(validation):
        held_out = ranks.together(lambda: _read_all(validation, "validation"))
    else:
        require("validation", validation, Real, "a share of the windows, or batches")
        fitted, held_out = _hold_out(fitted, cast("float", validation), ranks)
    return [*fitted, *(replace(batch, is_held_out=True) for batch in held_out)]


def _hold_out(batches: Sequence[Batch], share: float, ranks: Ranks) -> tuple[list[Batch], list[Batch]]:
    """Divide batches into batches with the windows to fit, and batches with the held-out windows."""
    counts = ranks.collect([batch.windows for batch in batches])
    positions = set(held_out_positions(sum(map(sum, counts)), share))
    begin = 0
    # The position of the first window of each batch of this rank.
    starts: list[int] = []
    for round_of_ranks in zip_longest(*counts, fillvalue=0):
        starts.append(begin + sum(round_of_ranks[: ranks.index]))
        begin += sum(round_of_ranks)
    fitted: list[Batch] = []
    held_out: list[Batch] = []
    for first, batch in zip(starts, batches, strict=False):
        chosen = [window for window in range(batch.windows) if first + window in positions]
        rest = [window for window in range(batch.windows) if first + window not in positions]
        if chosen:
            held_out.append(batch.take(chosen))
        if rest or not chosen:
            fitted.append(batch.take(rest) if chosen else batch)
    return fitted, held_out


def is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    """Return whether `for` accepts a value. A `TensorDataset`, for example, has only `__getitem__`."""
    return hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def _read_all(batches: Iterable[BatchInput], argument: str) -> list[Batch]:
    if not is_iterable(batches):
        require(argument, batches, Iterable, "batches that can be iterated")
    is_windows = isinstance(batches, Tensor) and batches.ndim < 3
    if is_windows or isinstance(batches, Mapping):
        raise TypeError(
            f"{argument}: must be a list of batches, got a single {type(batches).__name__}; give a list, "
            "such as windows.split(4) for a tensor of windows"
        )
    return [_read_batch(batch, argument, index) for index, batch in enumerate(batches)]


def _read_batch(batch: BatchInput, argument: str, index: int) -> Batch:
    if isinstance(batch, Tensor):
        return Batch((batch,), {})
    # A `DataLoader` of a `TensorDataset` yields such lists, and the data set itself tuples of one window.
    if isinstance(batch, (tuple, list)) and len(batch) == 1 and isinstance(batch[0], Tensor):
        return Batch((batch[0] if batch[0].ndim > 1 else batch[0].unsqueeze(0),), {})
    if not isinstance(batch, Mapping):
        kind = type(batch).__name__
        more = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise TypeError(
            f"{argument}: batch {index} must be a tensor of input_ids, a tuple of this one tensor, or a dict "
            f"of arguments, got {kind}{more}"
        )
    return Batch((), {name: value for name, value in batch.items() if name != "labels"})


def batches_digest(batches: Iterable[Batch]) -> str:
    """Return the SHA-256 digest of the names, shapes, dtypes and values of all tensors."""
    digest = hashlib.sha256()
    for batch in batches:
        for name, value in [*enumerate(batch.args), *sorted(batch.kwargs.items())]:
            if not isinstance(value, Tensor):
                digest.update(f"{name}={value!r};".encode())
                continue
            digest.update(f"{name}:{value.dtype}{tuple(value.shape)};".encode())
            digest.update(tensor_bytes(value))
        digest.update(b"held out\n" if batch.is_held_out else b"\n")
    return f"sha256:{digest.hexdigest()}"
