"""Reads the tokens of a tensor in chunks."""

from collections.abc import Iterator

from torch import Tensor


def token_chunks(inputs: Tensor, real: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield all tokens of `inputs` in chunks of at most `size` tokens, without copying them.

    The tokens are read in the order of their addresses, so a transposed tensor is read like the tensor that
    was transposed. A tensor whose tokens are not evenly spaced in memory is read slice by slice.

    Args:
        inputs: shape (…, features).
        real: a mask with the shape of `inputs` without its last dimension, or None.
        size: the number of tokens per chunk.

    Yields:
        A view of shape (tokens, features), and the mask of its tokens or None.
    """
    order = sorted(range(inputs.dim() - 1), key=inputs.stride, reverse=True)
    inputs = inputs.permute(*order, -1)
    real = None if real is None else real.permute(order)
    try:
        rows = inputs.view(-1, inputs.shape[-1])
    except RuntimeError:  # the tensor cannot be viewed as one matrix
        for i, part in enumerate(inputs):
            yield from token_chunks(part, None if real is None else real[i], size)
        return
    mask = None if real is None else real.reshape(-1)
    for start in range(0, rows.shape[0], size):
        chunk = slice(start, start + size)
        yield rows[chunk], None if mask is None else mask[chunk]
