"""The calibration batches: their arguments for the model, their padding and their fingerprint."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pare_llm.pruning.calibration.calls import TensorMover
from pare_llm.pruning.files import tensor_bytes

BatchInput = Tensor | Mapping[str, Any]
"""The `input_ids` (batch, tokens) of a model, or its keyword arguments."""


@dataclass(frozen=True)
class Batch:
    """The arguments of one forward pass of the model."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_held_out: bool = False
    """Whether the batch is in the validation statistics, and not among the inputs that are fitted."""

    @property
    def padding(self) -> Tensor | None:
        """The attention mask (batch, tokens), which is 0 at padding. None if the batch has none."""
        mask = self.kwargs.get("attention_mask")
        return mask if isinstance(mask, Tensor) and mask.ndim == 2 else None

    def on(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on `device`."""
        mover = TensorMover(device)
        return Batch(mover.move(self.args), mover.move(self.kwargs), self.is_held_out)


def read_batches(batches: Iterable[BatchInput], held_out: Iterable[BatchInput] = ()) -> list[Batch]:
    """Read all batches: tensors, the first argument of the model, or mappings, without labels."""
    return [
        *(_read_batch(batch, "batches", index) for index, batch in enumerate(batches)),
        *(
            replace(_read_batch(batch, "validation", index), is_held_out=True)
            for index, batch in enumerate(held_out)
        ),
    ]


def _read_batch(batch: BatchInput, argument: str, index: int) -> Batch:
    if isinstance(batch, Tensor):
        return Batch((batch,), {})
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"{argument}: batch {index} must be a tensor of input_ids or a dict of arguments, "
            f"got {type(batch).__name__}"
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
