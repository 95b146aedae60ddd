"""The error of the output of a block: the mean over all tokens of ‖out − y‖²/‖y‖² for the wanted output y."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pare_llm.pruning.calibration.capture import inference
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.model.blocks import Block
from pare_llm.statistics.padding import PaddingMask


def token_errors(block: Block, found: Tensor, wanted: Tensor, padding: Tensor | None) -> Tensor:
    """Return the errors of the tokens of a batch (tokens), without padding and tokens whose y is 0."""
    wanted = wanted.to(found.device).float()
    squares = wanted.square().sum(-1)
    is_counted = squares > 0
    real = None if padding is None else PaddingMask(padding).for_input(block.name, found)
    if real is not None:
        is_counted &= real
    return (found.float() - wanted)[is_counted].square().sum(-1) / squares[is_counted]


def has_held_out(hidden: HiddenStates) -> bool:
    """Whether a batch of any rank is held out. Every rank has to call this function."""
    return any(hidden.ranks.collect(any(batch.is_held_out for batch in hidden.batches)))


def mean_error(block: Block, hidden: HiddenStates, errors_of: Callable[[int], Tensor]) -> float:
    """Return the mean error of the held-out tokens of all ranks, or of all tokens if none are held out.

    `errors_of` returns the `token_errors` of the batch with an index. Every rank has to call this function.
    """
    is_held_out = has_held_out(hidden)

    def add_errors() -> tuple[float, int]:
        with inference(block.module):
            errors = [
                errors_of(index).double()
                for index, batch in enumerate(hidden.batches)
                if batch.is_held_out == is_held_out
            ]
        return sum(each.sum().item() for each in errors), sum(map(len, errors))

    of_ranks = hidden.ranks.collect(hidden.ranks.together(add_errors))
    return sum(errors for errors, _ in of_ranks) / sum(tokens for _, tokens in of_ranks)
