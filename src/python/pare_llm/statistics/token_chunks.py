"""Reads the tokens of a tensor in chunks."""

from collections.abc import Iterator

from torch import Tensor


def token_chunks(inputs: Tensor, real: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield all tokens of `inputs` in chunks of at most `size` tokens, without copying them.

    A tensor whose tokens are not evenly spaced in memory, such as a transposed one, cannot be viewed as one
    matrix. Its slices are read one after the other.

    Args:
        inputs: shape (…, features).
        real: a mask with the shape of `inputs` without its last dimension, or None.
        size: the number of tokens per chunk.

    Yields:
        A view of shape (tokens, features), and the mask of its tokens or None.
    """
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
