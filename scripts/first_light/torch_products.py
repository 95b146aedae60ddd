"""Measures how fast PyTorch multiplies two square matrices on a GPU. Prints one JSON line.

    python3 torch_products.py ORDER [--device cuda|cpu]

The line is {"device", "torch", "gflops"}, with the rate in GFLOP/s for each kind of arithmetic. `gflops` is absent if the
device is "cuda" and PyTorch has no GPU.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

ROUNDS = 5


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def median_seconds(run: Callable[[], object], device: str) -> float:
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[ROUNDS // 2]  # the first product also starts the library


def rates(order: int, device: str) -> dict[str, float]:
    """Return GFLOP/s by the kind of arithmetic: f32, and on a GPU also tf32 and f16, which use its matrix units."""
    flops = 2 * order**3
    gflops = {}
    for name, dtype in {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16}.items():
        if device == "cpu" and name != "f32":
            continue
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a = torch.randn(order, order, device=device).to(dtype)
        gflops[name] = flops / median_seconds(lambda a=a: a @ a, device) / 1e9
    return gflops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("order", type=int)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    args = parser.parse_args()
    result: dict[str, object] = {"torch": torch.__version__}
    if args.device == "cpu":
        result["device"] = "CPU"
    elif torch.cuda.is_available():
        result["device"] = torch.cuda.get_device_name()
    if "device" in result:
        result["gflops"] = rates(args.order, args.device)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
