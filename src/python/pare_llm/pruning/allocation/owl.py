"""Computes the sparsity of each block by the method OWL (arXiv 2310.05175, section 3.2).

A weight is an outlier if its score |W[i,j]|·√H[j,j] is larger than M times the mean score of its block.
Blocks with more outliers keep more weights. The sparsities of two blocks differ by at most 2λ.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# M of the paper.
_OUTLIER_FACTOR = 5

# λ of the paper, which is half of the range of the blocks' sparsities.
_LARGEST_DEVIATION = 0.08


def outlier_percentage(layers: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return D of the paper: the percentage of outliers among the weights of the layers of one block.

    Each layer is given by its weight W (out, in), and by the squared norms H[j,j] of its inputs, (in).
    """
    scores = [weight.float().abs() * norms.to(weight.device).sqrt() for weight, norms in layers]
    entries = sum(score.numel() for score in scores)
    total = sum(score.sum(dtype=torch.float64).item() for score in scores)
    threshold = _OUTLIER_FACTOR * total / entries
    return 100 * sum(int((score > threshold).sum()) for score in scores) / entries


def owl_sparsities(outliers: Sequence[float], entries: Sequence[int], sparsity: float) -> list[float]:
    """Return the sparsity of each block: `sparsity` + mean(r) − r with r = (D − min D)/(max D − min D)·2λ.

    The mean is weighted by the numbers of weights, so the model as a whole has the sparsity `sparsity`. The
    paper takes the plain mean, which is the same if all blocks have the same size.

    Args:
        outliers: D of each block.
        entries: the number of weights of each block.
        sparsity: the sparsity of the model.
    """
    lowest, span = min(outliers), max(outliers) - min(outliers)
    raised = [0 if span == 0 else (d - lowest) / span * 2 * _LARGEST_DEVIATION for d in outliers]
    mean = sum(value * count for value, count in zip(raised, entries, strict=True)) / sum(entries)
    return [sparsity + mean - value for value in raised]
