"""The parameters of one layer as a type.

`deno task generate` writes this file from the schemas in `src/protocol`.
"""

from typing import Literal, TypedDict

Method = Literal["sparsegpt", "magnitude", "wanda", "adaprune", "obc", "alps"]
"""The solver of a layer."""


class OtherLayerParameters(TypedDict, total=False):
    """The parameters of `LayerQuery` that `prune_` does not name in its signature."""

    column_group: int
    """The number of neighbouring inputs that pattern=columns removes together, such as the outputs of an
    attention head. The number of inputs must be a multiple of it. Defaults to 1. Accepts 1 to 2048."""
    blocksize: int
    """Columns per block, a multiple of m and of group_size. Defaults to the largest multiple of the larger
    of the two up to 128, or to the larger of the two if it exceeds 128. With scale_bits, the default
    is 256. Accepts 1 to 256."""
    damping: Literal["auto"] | float
    """λ. λ times the mean of the Hessian's diagonal is added to the diagonal. auto chooses λ, or shrinks
    the Hessian towards its diagonal, by validation statistics, which it needs. With pattern=columns,
    it needs none, and shrinks as far as the error stays small. Accepts 0 to 1. Defaults to 0.01."""
    token_weights: Literal["none", "unit"]
    """How much each calibration input x counts. none adds x·xᵀ, as published. unit first scales x to a
    fixed length, and is the default of whole models. Defaults to none."""
    symmetric: bool
    """Whether the quantisation grid is symmetric about 0. Defaults to false."""
    ranges: Literal["search", "minmax"]
    """What a quantisation grid spans. search finds the range with the smallest weighted error. minmax is
    all weights, as published. Defaults to search."""
    scale_dtype: Literal["F32", "F16", "BF16"]
    """The dtype to which each scale is rounded before the weights are rounded. Defaults to F32."""
    scale_bits: int
    """Make each scale a whole number of this many bits times one factor per 256 columns, as in the K types
    of GGUF. scale_dtype is then the dtype of the factor. The group size must divide 256. Accepts 2 to
    8."""
    order: Literal["natural", "activation"]
    """The order of the columns when quantising. activation starts with the largest inputs. Defaults to
    natural."""
    refit: int
    """Conjugate-gradient steps on the chosen mask, before any quantisation. Defaults to 10 for adaprune
    and alps, else 0. Accepts 0 to 1000."""
    effort: Literal["fast", "default", "best"]
    """How much work to spend on the mask, for alps. Rounded weights are improved after the rounding,
    except with fast. Defaults to default."""
    target_step: Literal["auto"] | float
    """The size of the step by which the weights move towards the tensor target before they are pruned. 1
    is the whole step. auto chooses by the tensor validation_target, which it needs. Needs the tensor
    target. Defaults to 0.5. Accepts 0 to 1."""
    error: bool
    """Whether to compute relative_error, which costs one more matrix product. Defaults to true."""
    dtype: Literal["same", "F32", "F16", "BF16"]
    """The dtype of the weights in the answer. same is the dtype of the request. Defaults to same."""


class LayerQuery(OtherLayerParameters, total=False):
    """The parameters of `POST /v1/layers`, by their names in the contract."""

    method: Method
    """The solver: sparsegpt (one pass); magnitude (no statistics); wanda (no update); adaprune (magnitude,
    then a refit); obc (one weight at a time); alps (slower, a better mask). Defaults to sparsegpt."""
    sparsity: float
    """The fraction of weights to prune. Defaults to 0.5. May be omitted with an n:m pattern, or with a
    tensor `mask`, which is then pruned exactly. Accepts 0 to below 1."""
    pattern: str
    """unstructured; n:m, which keeps at most n of every m consecutive inputs, 1 ≤ n < m ≤ 128; or columns,
    which removes whole inputs and answers a smaller weight, for obc. Defaults to unstructured."""
    bits: int
    """Round the kept weights to a grid of 2^bits values. Accepts 2 to 8."""
    group_size: int
    """Columns per quantisation group. 0 means a whole row. The block size must be a multiple of it.
    Accepts 0 to 256. Defaults to 0."""
