"""Prunes and rounds the columns of a layer, and compensates for their errors in later columns."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from pare_llm.local.local_options import MAX_COLUMNS, LocalOptions

_SMALLEST = 2.0**-126  # the smallest scale

# The factors of the scale and the changes of the zero in the stages of a search. The first change nothing.
_FIRST = [(12 / (10 + (n + 2) % 16), 0) for n in range(16)]
_SYMMETRIC = [(1 + ((n + 8) % 16 - 8) / 128, 0) for n in range(16)]
_ASYMMETRIC = [(1 + ((n + 7) % 16 % 5 - 2) / 40, (n + 7) % 16 // 5 - 1) for n in range(16)]


def smallest(scores: Tensor, counts: Tensor | int) -> Tensor:
    """Return where the `counts` smallest scores of the last dimension are. Of equal ones, the first count."""
    order = scores.argsort(dim=-1, stable=True)
    chosen = torch.arange(scores.shape[-1], device=scores.device) < counts
    return torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order, chosen.expand_as(order))


def smallest_in_groups(scores: Tensor, options: LocalOptions) -> Tensor:
    """Return where an n:m pattern prunes (rows, cols). Of a last group of g columns, ceil(n·g/m) are kept."""
    (rows, cols), (keep, group) = scores.shape, options.groups
    padded = pad(scores, (0, -cols % group), value=torch.inf).view(rows, -1, group)
    sizes = [group] * (cols // group) + [cols % group] * (cols % group > 0)
    counts = torch.tensor([size - -(-keep * size // group) for size in sizes], device=scores.device)
    return smallest(padded, counts[:, None]).view(rows, -1)[:, :cols]


def run_columns(
    weight: Tensor, u: Tensor, options: LocalOptions, pruned: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Prune and round in one pass (SparseGPT, arXiv 2301.00774, with GPTQ, arXiv 2210.17323).

    `u` is upper triangular with H⁻¹ = UᵀU. The identity would compensate for no error. All matrices are
    float32. `pruned` (rows, cols) says which entries to prune. By default, the pass chooses them. Returns the
    new weight and the pruned entries.
    """
    (rows, cols), group, width = weight.shape, options.groups[1], options.group_size
    # The matrices are transposed, so that the loop over the columns reads neighbouring numbers.
    work, chooses = weight.T.clone(memory_format=torch.contiguous_format), pruned is None
    pruned = torch.zeros_like(work, dtype=torch.bool) if pruned is None else pruned.T.contiguous()
    scale, count, widest = 1 / u.diagonal(), 0, max(group, width)
    blocksize = max(1, MAX_COLUMNS // widest) * widest
    grid = _fit_grid(weight, scale, options) if options.bits and not width else None
    for start in range(0, cols, blocksize):
        end = min(start + blocksize, cols)
        if chooses and group == 1:
            scores = (work[start:end].abs() * scale[start:end, None]).T
            due = int(options.sparsity * (rows * end) + 0.5) - count
            pruned[start:end] = smallest(scores.flatten(), due).view_as(scores).T
            count += due
        errors = torch.empty_like(work[start:end])
        for j in range(start, end):
            if width and j % width == 0:
                part = slice(j, min(j + width, end))
                grid = _fit_grid(work[part].masked_fill(pruned[part], 0).T, scale[part], options)
            if chooses and group > 1 and (j - start) % group == 0:
                part = slice(j, min(j + group, end))
                pruned[part] = smallest_in_groups((work[part].abs() * scale[part, None]).T, options).T
            value = (work[j] if grid is None else _round(work[j], grid, options)).masked_fill(pruned[j], 0)
            error = errors[j - start] = (work[j] - value) / u[j, j]
            work[j + 1 : end].addr_(u[j, j + 1 : end], error, alpha=-1)
            work[j] = value
        work[end:].addmm_(u[start:end, end:].T, errors, alpha=-1)
    return work.T.contiguous(), pruned.T.contiguous()


def _fit_grid(weights: Tensor, importance: Tensor, options: LocalOptions) -> tuple[Tensor, ...]:
    """Return the scale and the zero of each row of `weights`, (rows, columns).

    `src/tensor/quantization.ts` has the formulas. Each of two stages compares 16 candidates by the sum of
    (importance·error)² (after NeUQI, arXiv 2505.17595).
    """
    largest, middle = 2**options.bits - 1, 2 ** (options.bits - 1)
    low, high = -weights.amin(1).clamp(max=0), weights.amax(1).clamp(min=0)
    exact = torch.where(low >= high, low, -high) / middle if options.symmetric else (low + high) / largest
    scale = torch.where(exact.abs() < _SMALLEST, 1, exact)
    zero = torch.full_like(scale, middle) if options.symmetric else (low / scale).round().clamp(max=largest)
    for changes in (_FIRST, _SYMMETRIC if options.symmetric else _ASYMMETRIC):
        scales = [torch.where((scale * by).abs() < _SMALLEST, scale, scale * by) for by, _ in changes]
        grids = [(each, (zero + by).clamp(0, largest)) for each, (_, by) in zip(scales, changes, strict=True)]
        errors = [(_round(weights.T, each, options).T - weights) * importance for each in grids]
        best = torch.stack([error.square().sum(1) for error in errors]).argmin(0, keepdim=True)
        scale, zero = (torch.stack(each).gather(0, best)[0] for each in zip(*grids, strict=True))
    return scale, zero


def _round(weights: Tensor, grid: tuple[Tensor, ...], options: LocalOptions) -> Tensor:
    """Return the nearest values (code − zero)·scale of the grids of all rows, (…, rows)."""
    scale, zero = grid
    return (((weights / scale).round() + zero).clamp(0, 2**options.bits - 1) - zero) * scale
