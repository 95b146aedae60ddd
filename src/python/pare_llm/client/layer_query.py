"""The parameters of one layer, as a client sends them. The server checks them and fills in the defaults."""

from collections.abc import Mapping
from typing import Literal, TypedDict


class LayerQuery(TypedDict, total=False):
    """The parameters of `POST /v1/layers`, by their names in the HTTP contract."""

    method: Literal["sparsegpt", "magnitude", "wanda", "adaprune", "obc", "alps"]
    """The solver. The default is `sparsegpt`."""
    sparsity: float
    """The fraction s of weights to prune, 0 ≤ s < 1. The default is 0.5."""
    pattern: str
    """`unstructured`, the default, or `n:m`, which keeps at most n of every m consecutive inputs."""
    blocksize: int
    """The number of columns per block of the solve, a multiple of m if the pattern is n:m."""
    damping: float
    """0 ≤ λ ≤ 1. λ times the mean of the Hessian's diagonal is added to the diagonal. The default is 0.01."""
    bits: int
    """Rounds the kept weights to a grid of 2^bits values, from 2 to 8."""
    group_size: int
    """The number of columns that share a grid. 0, the default, means a whole row."""
    symmetric: bool
    """Whether the grid is symmetric about 0. The default is False."""
    order: Literal["natural", "activation"]
    """The order in which columns are rounded. `activation` starts with the largest inputs."""
    refit: int
    """Conjugate-gradient steps on the chosen mask. The default is 10 for `adaprune` and `alps`, else 0."""
    effort: Literal["fast", "default", "best"]
    """How much work `alps` spends on the mask."""
    error: bool
    """Whether to compute `relative_error`, which costs one more matrix product. The default is True."""
    dtype: Literal["same", "F32", "F16", "BF16"]
    """The dtype of the weights in the answer. `same`, the default, is that of the request."""


def query_parameters(query: Mapping[str, object]) -> dict[str, str]:
    """Return `query` as the parameters of a query string. Parameters that are None are left out."""
    return {name: _text_of(value) for name, value in query.items() if value is not None}


def _text_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
