"""Moves the arguments of modules to a device."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class TensorMover:
    """Moves tensors in nested tuples, lists and dicts to a device. Each tensor is moved once."""

    device: torch.device
    _moved: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def move(self, value: Any) -> Any:
        """Return `value` with all tensors on the device."""
        if isinstance(value, Tensor):
            # The original is stored too, so that its id is not given to another tensor.
            return self._moved.setdefault(id(value), (value, value.to(self.device)))[1]
        if type(value) in (tuple, list):
            return type(value)(self.move(item) for item in value)
        if type(value) is dict:
            return {name: self.move(item) for name, item in value.items()}
        return value
