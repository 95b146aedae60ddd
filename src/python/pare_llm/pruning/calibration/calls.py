"""The arguments of a model's calls of its blocks. They differ between batches, and often between blocks."""

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


HIDDEN_STATES = "hidden_states"
"""The name of the hidden states if a block gets them as a keyword argument."""


@dataclass(frozen=True)
class BlockCall:
    """One call of a block."""

    args: tuple[Any, ...]
    """The positional arguments after the hidden states."""
    kwargs: dict[str, Any]
    is_positional: bool
    """Whether the hidden states are the first positional argument."""

    def arguments(self, hidden: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return all arguments of the call on the device of `hidden`, with `hidden` as the hidden states."""
        mover = TensorMover(hidden.device)
        args, kwargs = mover.move(self.args), mover.move(self.kwargs)
        return ((hidden, *args), kwargs) if self.is_positional else (args, {HIDDEN_STATES: hidden, **kwargs})


def split_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, BlockCall]:
    """Split the arguments of a block into the hidden states and the rest. A TypeError says there are none."""
    if args and isinstance(args[0], Tensor):
        return args[0], BlockCall(args[1:], kwargs, is_positional=True)
    hidden = kwargs.get(HIDDEN_STATES)
    if not isinstance(hidden, Tensor):
        raise TypeError("the first argument of a block must be its hidden states, a tensor")
    rest = {name: value for name, value in kwargs.items() if name != HIDDEN_STATES}
    return hidden, BlockCall(args, rest, is_positional=False)


def output_states(output: Any, block_name: str) -> Tensor:
    """Return the hidden states in a block's output, a tensor or a tuple. Else raise a TypeError."""
    states = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(states, Tensor):
        raise TypeError(
            f"{block_name}: must return hidden states or a tuple that begins with them, "
            f"got {type(output).__name__}"
        )
    return states
