"""Prunes one layer with the published SparseGPT algorithm in PyTorch, so that the benches can compare Pare with it.

The code was written anew from the paper. It reads `weight` and `hessian` (both F32) from a safetensors file, which is the body
that the benches send to the host. The program makes one run for each line of standard input, so that a bench can run it and
Pare in turn. For each run it prints one JSON line:
{"rows", "cols", "seconds": {"factor", "solve", "total"}, "loss", "zeros"}
The loss is tr(ΔHΔᵀ), where Δ is the change of the weights and H is the Hessian without damping.

    python3 reference_layer.py LAYER.safetensors
"""

import json
import sys
import time

import torch
from safetensors.torch import load_file

DAMPING = 0.01
SPARSITY = 0.5
BLOCKSIZE = 128


def inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """Returns the upper triangular U with H⁻¹ = UᵀU, for the damped H (n, n). Overwrites H.

    The steps are the published ones: a Cholesky factorisation, the inverse, and a Cholesky factorisation of the inverse.
    """
    diagonal = torch.arange(hessian.shape[0])
    hessian[diagonal, diagonal] += DAMPING * torch.mean(torch.diag(hessian))
    lower = torch.linalg.cholesky(hessian)
    inverse = torch.cholesky_inverse(lower)
    return torch.linalg.cholesky(inverse, upper=True)


def solve(weight: torch.Tensor, factor: torch.Tensor) -> tuple[float, int]:
    """Prunes half of each block of columns of `weight` (rows, cols) in place. Returns the loss and the number of zeros."""
    rows, cols = weight.shape
    losses = torch.zeros(rows)
    for begin in range(0, cols, BLOCKSIZE):
        end = min(begin + BLOCKSIZE, cols)
        block = weight[:, begin:end].clone()
        pruned_block = torch.zeros_like(block)
        errors = torch.zeros_like(block)
        u = factor[begin:end, begin:end]
        scores = block**2 / torch.diag(u).reshape(1, -1) ** 2
        threshold = torch.sort(scores.flatten())[0][int(scores.numel() * SPARSITY)]
        mask = scores <= threshold
        for i in range(end - begin):
            column = block[:, i]
            pivot = u[i, i]
            kept = column.clone()
            kept[mask[:, i]] = 0
            pruned_block[:, i] = kept
            losses += (column - kept) ** 2 / pivot**2
            error = (column - kept) / pivot
            block[:, i:] -= error.unsqueeze(1) @ u[i, i:].unsqueeze(0)
            errors[:, i] = error
        weight[:, begin:end] = pruned_block
        weight[:, end:] -= errors @ factor[begin:end, end:]
    return losses.sum().item(), int((weight == 0).sum().item())


def main() -> None:
    layer = load_file(sys.argv[1])
    source_weight, source_hessian = layer["weight"], layer["hessian"]
    rows, cols = source_weight.shape
    for _ in sys.stdin:
        weight, hessian = source_weight.clone(), source_hessian.clone()
        added = (DAMPING * torch.diag(hessian).mean()).item()
        start = time.perf_counter()
        factor = inverse_factor(hessian)
        factored = time.perf_counter()
        loss, zeros = solve(weight, factor)
        end = time.perf_counter()
        loss -= added * ((source_weight - weight) ** 2).sum().item()
        seconds = {"factor": factored - start, "solve": end - factored, "total": end - start}
        print(
            json.dumps({"rows": rows, "cols": cols, "seconds": seconds, "loss": loss, "zeros": zeros}),
            flush=True,
        )


if __name__ == "__main__":
    main()
