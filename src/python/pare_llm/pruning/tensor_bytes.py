"""The bytes of a tensor, for digests and files."""

import torch
from torch import Tensor


def tensor_bytes(values: Tensor) -> memoryview:
    """Return the bytes of a tensor in row-major order, without a copy if it is contiguous and on the CPU."""
    flat = values.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]  # arrays are buffers
