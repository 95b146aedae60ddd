"""Prunes one layer with the published SparseGPT algorithm in PyTorch, so that the benches can compare Pare with it.

The code was written anew from the paper. It reads `weight` and `hessian` (both F32) from a safetensors file, which is the body
that the benches send to the host. For each run it prints one JSON line:
{"rows", "cols", "seconds": {"factor", "solve", "total"}, "loss", "zeros"}
The loss is tr(ΔHΔᵀ), where Δ is the change of the weights and H is the Hessian without damping. With --on-demand the program
makes one run for each line of standard input, so that a bench can run it and Pare in turn.

    python3 reference_layer.py LAYER.safetensors [--sparsity 0.5 | --pattern 2:4] [--repeat 3] [--device cpu|cuda]
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator

import torch
from safetensors.torch import load_file

DAMPING = 0.01


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def inverse_factor(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """Returns the upper triangular U with H⁻¹ = UᵀU, for the damped H (n, n). Overwrites H.

    The steps are the published ones: a Cholesky factorisation, the inverse, and a Cholesky factorisation of the inverse.
    """
    diagonal = torch.arange(hessian.shape[0], device=hessian.device)
    hessian[diagonal, diagonal] += damping * torch.mean(torch.diag(hessian))
    lower = torch.linalg.cholesky(hessian)
    inverse = torch.cholesky_inverse(lower)
    return torch.linalg.cholesky(inverse, upper=True)


def solve(
    weight: torch.Tensor, factor: torch.Tensor, sparsity: float, keep: int, group: int, blocksize: int
) -> tuple[float, int]:
    """Prunes `weight` (rows, cols) in place, one block of columns after another. Returns the loss and the number of zeros.

    If `group` is 0, the share `sparsity` of each block is pruned. Otherwise `keep` of every `group` entries of a row are kept.
    """
    rows, cols = weight.shape
    losses = torch.zeros(rows, device=weight.device)
    for begin in range(0, cols, blocksize):
        end = min(begin + blocksize, cols)
        block = weight[:, begin:end].clone()
        pruned_block = torch.zeros_like(block)
        errors = torch.zeros_like(block)
        u = factor[begin:end, begin:end]
        if group == 0:
            scores = block**2 / torch.diag(u).reshape(1, -1) ** 2
            threshold = torch.sort(scores.flatten())[0][int(scores.numel() * sparsity)]
            mask = scores <= threshold
        else:
            mask = torch.zeros_like(block, dtype=torch.bool)
        for i in range(end - begin):
            column = block[:, i]
            pivot = u[i, i]
            if group and i % group == 0:
                scores = block[:, i : i + group] ** 2 / torch.diag(u)[i : i + group].reshape(1, -1) ** 2
                chosen = torch.topk(scores, group - keep, dim=1, largest=False)[1]
                mask.scatter_(1, i + chosen, True)
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


def runs(args: argparse.Namespace) -> Iterator[object]:
    """Yields one element per run: --repeat elements, or one for each line of standard input."""
    if args.on_demand:
        yield from sys.stdin
    else:
        yield from range(args.repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layer")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--pattern", default="")
    parser.add_argument("--blocksize", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--on-demand", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    keep, group = (int(part) for part in args.pattern.split(":")) if args.pattern else (0, 0)

    layer = load_file(args.layer, device=args.device)
    source_weight, source_hessian = layer["weight"], layer["hessian"]
    rows, cols = source_weight.shape
    for _ in runs(args):
        weight, hessian = source_weight.clone(), source_hessian.clone()
        added = (DAMPING * torch.diag(hessian).mean()).item()
        synchronize(args.device)
        start = time.perf_counter()
        factor = inverse_factor(hessian, DAMPING)
        synchronize(args.device)
        factored = time.perf_counter()
        loss, zeros = solve(weight, factor, args.sparsity, keep, group, args.blocksize)
        synchronize(args.device)
        end = time.perf_counter()
        loss -= added * ((source_weight - weight) ** 2).sum().item()
        seconds = {"factor": factored - start, "solve": end - factored, "total": end - start}
        print(
            json.dumps({"rows": rows, "cols": cols, "seconds": seconds, "loss": loss, "zeros": zeros}),
            flush=True,
        )


if __name__ == "__main__":
    main()
