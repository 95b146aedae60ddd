"""Layers with random weights and correlated inputs, for requests to a host."""

from typing import Any

import ml_dtypes
import numpy as np
import torch

# The dtypes that a weight may have, by their names in safetensors files.
NUMPY_DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

ROWS, COLS, TOKENS = 24, 40, 120


def random_layer(seed: int = 0, rows: int = ROWS, cols: int = COLS) -> tuple[np.ndarray, np.ndarray]:
    """Return a weight (rows, cols) and calibration inputs (tokens, cols), both float32."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((cols, cols)) / np.sqrt(cols) + np.eye(cols)
    inputs = random.standard_normal((TOKENS, cols)) @ mixing
    return random.standard_normal((rows, cols)).astype(np.float32), inputs.astype(np.float32)


def hessian_of(inputs: np.ndarray) -> np.ndarray:
    """Return Σ x·xᵀ over the inputs, (cols, cols) float32."""
    wide = inputs.astype(np.float64)
    return (wide.T @ wide).astype(np.float32)


def upper_of(hessian: np.ndarray) -> np.ndarray:
    """Return the upper triangle of a matrix, packed row by row."""
    return hessian[np.triu_indices(len(hessian))]


def bits_of(tensor: Any) -> np.ndarray:
    """Return the bytes of a tensor of either library, so that two tensors can be compared exactly."""
    if isinstance(tensor, torch.Tensor):
        return tensor.contiguous().view(torch.uint8).numpy()
    return np.ascontiguousarray(tensor).view(np.uint8)


def to_library(library: str, array: np.ndarray, dtype: str = "F32") -> Any:
    """Return `array` as an array or a tensor of `library`, which is `numpy` or `torch`, in `dtype`."""
    if library == "numpy":
        return array.astype(NUMPY_DTYPES[dtype])
    return torch.from_numpy(array).to(TORCH_DTYPES[dtype])
