"""Times the matrix products of a transformer block in PyTorch. Each line of standard input is a block as JSON."""

import json
import sys
import time

import torch

TIMINGS = 4


def fastest(product):
    seconds = []
    for _ in range(TIMINGS + 1):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


@torch.inference_mode()
def measure(dtype, tokens, linears, statistics):
    kind = getattr(torch, dtype)
    forward_flops = forward_seconds = sum_flops = sum_seconds = 0
    for outputs, inputs in linears:
        x, weight = torch.randn(tokens, inputs, dtype=kind), torch.randn(outputs, inputs, dtype=kind)
        forward_flops += 2 * tokens * outputs * inputs
        forward_seconds += fastest(lambda: torch.nn.functional.linear(x, weight))
    for width in statistics:
        x = torch.randn(tokens, width, dtype=kind)
        # XᵀX is symmetric, so only half of its flops count.
        sum_flops += tokens * width * width
        sum_seconds += fastest(lambda: x.T @ x)
    return {
        "forward": forward_flops / forward_seconds / 1e9,
        "statistics": sum_flops / sum_seconds / 1e9,
    }


for line in sys.stdin:
    print(json.dumps(measure(**json.loads(line))), flush=True)
