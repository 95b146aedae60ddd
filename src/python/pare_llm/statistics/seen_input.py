"""Recognises the input of a layer when another layer receives it."""

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from pare_llm.statistics.hessian import token_chunks

_CHUNK_TOKENS = 256
"""How many tokens of an input are converted to float32 at a time."""


class SeenInput:
    """The identity of an input, which can be compared and hashed. It does not keep the input's memory alive.

    Two inputs are equal if they are the same view of the same memory, and nothing was written to the memory
    in between. The identity holds a weak reference to the storage. A new storage therefore cannot get the
    identity of a freed one, even if it gets the same address.

    Writes are detected by the version counter of the tensor. Writes through `Tensor.data` do not change this
    counter, so they stay unnoticed, as in autograd. Tensors that were created in inference mode have no
    counter, so the sums and the squared norms of their columns are compared.
    """

    def __init__(self, inputs: Tensor) -> None:
        storage = StorageWeakRef(inputs.untyped_storage())  # type: ignore[no-untyped-call]
        self._view = (storage, inputs.dtype, inputs.storage_offset(), inputs.shape, inputs.stride())
        self._version = None if inputs.is_inference() else inputs._version
        self._column_sums = _column_sums(inputs) if inputs.is_inference() else None

    def __hash__(self) -> int:
        return hash(self._view)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SeenInput) or self._view != other._view or self._version != other._version:
            return False
        if self._column_sums is None or other._column_sums is None:
            return True
        return bool(torch.equal(self._column_sums, other._column_sums))


def _column_sums(inputs: Tensor) -> Tensor:
    """Return the bits of the sum and the squared norm of each column: int32 with shape (2, in).

    The bits are compared instead of the numbers because NaN is not equal to NaN.
    """
    with torch.no_grad():
        sums = inputs.new_zeros(2, inputs.shape[-1], dtype=torch.float32)
        for chunk, _ in token_chunks(inputs, None, _CHUNK_TOKENS):
            sums[0] += chunk.sum(0, dtype=torch.float32)
            sums[1] += torch.linalg.vector_norm(chunk, dim=0, dtype=torch.float32) ** 2
        return sums.view(torch.int32)
