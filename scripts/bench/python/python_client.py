"""Prunes one layer with the Python client, again and again, and prints how long each request took.

    python_client.py URL LAYER

LAYER is a safetensors file with the tensors `weight` and `hessian_upper`. Each line of standard input is a
request: the library, `numpy` or `torch`, and whether the statistics are `stored` at the host or `sent` with
the layer. For each line, one line of JSON is printed.
"""

import json
import sys
import time

import safetensors.numpy
import safetensors.torch
import torch
from pare_llm import Pare

torch.set_num_threads(1)


def main(url: str, path: str) -> None:
    """Answer each line of standard input."""
    layers = {"numpy": safetensors.numpy.load_file(path), "torch": safetensors.torch.load_file(path)}
    with Pare(url) as pare:
        digest = pare.put_hessian(layers["numpy"]["hessian_upper"])
        for line in sys.stdin:
            library, statistics = line.split()
            tensors = layers[library]
            hessian_upper = tensors["hessian_upper"] if statistics == "sent" else None
            hessian = digest if statistics == "stored" else None
            started = time.perf_counter()
            pruned = pare.prune_layer(
                tensors["weight"], hessian=hessian, hessian_upper=hessian_upper, sparsity=0.5, error=False
            )
            seconds = time.perf_counter() - started
            print(json.dumps({"wallSeconds": seconds, "report": pruned.report}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
