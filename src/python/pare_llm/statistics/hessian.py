"""The calibration statistics of a layer: H = Σ w x xᵀ over its inputs, and the number of tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Literal

import torch
from torch import Tensor

from pare_llm.arguments import require, require_integer

CHUNK_TOKENS = 2048
"""The default number of tokens that are converted to float32 at a time."""


TokenWeights = Literal["none", "unit"]
"""How much each token counts: `none` adds x xᵀ, and `unit` first scales x to a mean square of 1."""

DEFAULT_TOKEN_WEIGHTS: TokenWeights = "unit"
"""The default of statistics, runs and `pare prune`. A request with `inputs` has the default `none`."""

LEAST_SQUARE = 1e-30
"""Added to the mean square before the division, so that an input of zeros stays 0."""


class Hessian:
    """The sum H = Σ w x xᵀ over the tokens x that a linear layer has received, in float32.

    With the default `token_weights="unit"`, the weight w is in/‖x‖², so that every token adds the same trace.
    With `none`, w is 1, as published with SparseGPT.

    Up to a factor, H is the Hessian of the layer's squared output error. H is not divided by the number of
    tokens, so partial sums can be added. The weights that a host computes do not depend on the scale of H.
    Pare's own calibration (`src/layer/calibration/hessian.ts`) computes the same sum.

    Attributes:
        matrix: H, float32 with shape (in, in). It lies on the device of the inputs, or on the CPU with
            `offload`.
        tokens: the number of tokens in the sum.
    """

    def __init__(
        self,
        in_features: int,
        device: torch.device | str = "cpu",
        *,
        offload: bool = False,
        chunk_tokens: int = CHUNK_TOKENS,
        token_weights: TokenWeights = DEFAULT_TOKEN_WEIGHTS,
    ) -> None:
        """Create the sum over no tokens, which is 0.

        Args:
            in_features: the order of H.
            device: the device of the inputs.
            offload: keep H on the CPU. Each addition then computes its sum on the device of the inputs, in a
                matrix as large as H that is freed afterwards.
            chunk_tokens: how many tokens are converted to float32 at a time.
            token_weights: `unit` or `none`. With `unit`, a few tokens with massive activations do not
            outweigh
                all others.
        """
        require_integer("in_features", in_features, 0)
        # A tensor that is created in inference mode could not be changed after its end.
        with torch.inference_mode(False):
            place = "cpu" if offload else device
            self.matrix = torch.zeros(in_features, in_features, dtype=torch.float32, device=place)
        self.tokens = 0
        self._offload = offload
        self._chunk_tokens = chunk_tokens
        self._token_weights: TokenWeights = token_weights

    @property
    def in_features(self) -> int:
        """The order of H, which is the number of inputs of the layer."""
        return self.matrix.shape[0]

    def add(self, inputs: Tensor, real: Tensor | None = None) -> None:
        """Add w x xᵀ for every token x of `inputs`.

        The products are computed in float32, even inside `torch.autocast` or if the program allows TF32. No
        autograd graph is recorded. At most `chunk_tokens` tokens are converted to float32 at a time.

        Args:
            inputs: a floating-point tensor with shape (…, in).
            real: bool with the shape of `inputs` without its last dimension, on the same device. False marks
                padding, which is left out. By default, no token is padding.
        """
        require("inputs", inputs, Tensor, "a torch tensor")
        with torch.inference_mode(False), torch.no_grad(), full_precision_products():
            total = torch.zeros_like(self.matrix, device=inputs.device) if self._offload else self.matrix
            for chunk, mask in token_chunks(inputs, real, self._chunk_tokens):
                _add_chunk(total, chunk, mask, self._token_weights)
            if self._offload:
                self.matrix += total.to(self.matrix.device)
        self.tokens += inputs.shape[:-1].numel() if real is None else int(real.sum())

    def upper(self) -> Tensor:
        """Return `hessian_upper` of the API: the upper triangle, packed row by row, float32 (in·(in+1)/2)."""
        return torch.cat([row[i:] for i, row in enumerate(self.matrix)])

    def clone(self) -> "Hessian":
        """Return a copy that can be added to independently."""
        clone = copy(self)
        with torch.inference_mode(False):
            clone.matrix = self.matrix.clone()
        return clone

    def replace(self, matrix: Tensor, tokens: int) -> None:
        """Replace the sum and the number of tokens."""
        self.matrix = matrix
        self.tokens = tokens

    def __repr__(self) -> str:
        return f"Hessian(in_features={self.in_features}, tokens={self.tokens}, device={self.matrix.device})"


def symmetric_matrix(upper: Tensor, in_features: int) -> Tensor:
    """Return the matrix (in, in) whose packed upper triangle is `upper`, as `Hessian.upper` returns it."""
    matrix = upper.new_empty(in_features, in_features)
    first = 0
    for i in range(in_features):
        row = upper[first : first + in_features - i]
        matrix[i, i:] = row
        matrix[i:, i] = row
        first += in_features - i
    return matrix


def _add_chunk(total: Tensor, chunk: Tensor, real: Tensor | None, token_weights: TokenWeights) -> None:
    """Add XᵀX to `total` for the tokens X of a chunk, which has shape (tokens, in)."""
    if real is None:
        x = chunk.to(torch.float32)
    else:
        # Zeros add nothing to the sum. `masked_fill_` also replaces padding that is NaN or infinite.
        x = chunk.to(torch.float32, copy=True).masked_fill_(~real[:, None], 0)
    if token_weights == "unit":
        x = weigh_tokens(x)
    total.addmm_(x.t(), x)


def weigh_tokens(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return y, by default x, times the factors by which `unit` scales the tokens x (tokens, in)."""
    return (x if y is None else y) * (x.square().mean(dim=1, keepdim=True) + LEAST_SQUARE).rsqrt()


@contextmanager
def full_precision_products() -> Iterator[None]:
    """Compute float32 products in float32 inside the `with`, and restore the program's settings at its end.

    TF32 and bf16 have 11 and 8 significant bits, which is too few for a Hessian that will be factored.
    """
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    if all(hasattr(backend, "fp32_precision") for backend in backends):
        settings = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, setting in zip(backends, settings, strict=True):
                backend.fp32_precision = setting
        return
    # torch before 2.9 has one setting for all backends.
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


def token_chunks(inputs: Tensor, real: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield `inputs`, (…, features), and its mask in chunks of at most `size` tokens, without copying them.

    The tokens are read in the order of their addresses, so a transposed tensor is read like the tensor that
    was transposed. A tensor whose tokens are not evenly spaced in memory is read slice by slice.
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
