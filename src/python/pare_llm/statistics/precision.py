"""Float32 products in full precision, whatever precision the program has chosen for its own products."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision_products() -> Iterator[None]:
    """Compute float32 products in float32 inside the `with`, and restore the program's settings at its end.

    Training programs often allow TF32 on GPUs or bf16 on CPUs for float32 products
    (`torch.set_float32_matmul_precision`). These formats have 11 and 8 significant bits, which is too few for
    a Hessian that will be factored.
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
