"""Prunes a whole OPT or LLaMA checkpoint in PyTorch as `pare prune` does, so that the model bench can compare Pare with it.

The code was written anew. It prunes one transformer block after another. A forward pass of all windows through the dense block sums
the Hessian of each linear layer's input. Then each layer is pruned (`reference_layer.py`). A forward pass through the pruned block
computes the inputs of the next block (`reference_blocks.py`). There are two forms:

- published: does what opt.py and sparsegpt.py of github.com/IST-DASLab/sparsegpt do (opt_sequential, SparseGPT.add_batch,
  fasterprune). Windows are processed one at a time. Every linear layer has its own Hessian and factor, even q, k and v, which share
  an input. Each Hessian is a full product of the input with itself, and is rescaled by the number of windows so far. Both forward
  passes compute the whole block.
- shared: omits the work that the result does not need. Layers with the same input, such as q, k and v, share one Hessian and one
  factor. Several windows are processed at a time. Products that no later step reads are not computed.

Both forms are faster than the published code in one respect: they use PyTorch's fused attention. Activations are f32. Weights are
read and written in the checkpoint's dtype.

For each line OUT of standard input the program prunes once, writes OUT/model.safetensors, and prints one JSON line:
{"seconds": {"read", "calibrate", "factor", "solve", "forward", "write", "total"}, "layers": [{"name", "loss", "zeros"}]}

    python3 reference_model.py MODEL WINDOWS.json [--form published|shared] [--sparsity 0.5]

WINDOWS.json holds a list of windows. Each window is a list of token ids, and all have the same length.
"""

import argparse
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors.torch import load_file, save_file

from reference_blocks import FAMILIES, Config, Family, Weights
from reference_layer import DAMPING, inverse_factor, solve

BLOCKSIZE = 128
# How many windows are processed at a time.
BATCH = {"published": 1, "shared": 4}


class Phases:
    """Adds up the seconds of each phase."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "calibrate", "factor", "solve", "forward", "write"), 0.0)

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] += time.perf_counter() - start


class Hessian:
    """Accumulates Σ x·xᵀ of one input. The published form keeps 2/n times this sum, where n is the number of windows so far."""

    def __init__(self, published: bool) -> None:
        self.published, self.windows = published, 0
        self.sum: torch.Tensor | None = None

    def add(self, x: torch.Tensor) -> None:
        windows, _, cols = x.shape
        rows = x.reshape(-1, cols)
        if self.sum is None:
            self.sum = torch.zeros(cols, cols)
        if not self.published:
            self.sum.addmm_(rows.t(), rows)
            return
        self.sum *= self.windows / (self.windows + windows)
        self.windows += windows
        rows = math.sqrt(2 / self.windows) * rows
        self.sum += rows.t().matmul(rows)

    @property
    def scale(self) -> float:
        """The accumulated sum divided by Σ x·xᵀ."""
        return 2 / self.windows if self.published else 1


def calibrate(family: Family, weights: Weights, config: Config, states: list[torch.Tensor], published: bool) -> dict[str, Hessian]:
    """Computes the Hessians of a block.

    The published form has one per layer. The shared form has one per group, stored under the name of the group's first layer.
    """
    hessians: dict[str, Hessian] = {}
    group_of = {group[0]: group for group in family.groups}

    def add_input(name: str, x: torch.Tensor) -> None:
        for owner in group_of[name] if published else (name,):
            hessians.setdefault(owner, Hessian(published)).add(x)

    for x in states:
        family.forward(weights, x, config, add_input, stop=not published)
    return hessians


def prune_group(
    weights: Weights, group: tuple[str, ...], statistics: Hessian, sparsity: float, dtype: torch.dtype, phases: Phases
):
    """Prunes the layers that share a Hessian in place and rounds them to `dtype`. Yields the name, loss and zeros of each layer.

    The loss is tr(ΔHΔᵀ) with H = Σ x·xᵀ.
    """
    hessian = statistics.sum
    with phases.time("factor"):
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal[dead] = 1
        added = (DAMPING * diagonal.mean()).item()
        factor = inverse_factor(hessian, DAMPING)
    for name in group:
        with phases.time("solve"):
            weight = weights[f"{name}.weight"]
            weight[:, dead] = 0
            before = weight.clone()
            loss, zeros = solve(weight, factor, sparsity, 0, 0, BLOCKSIZE)
            loss -= added * ((before - weight) ** 2).sum().item()
            weight.copy_(weight.to(dtype))
        yield {"name": name, "loss": loss / statistics.scale, "zeros": zeros}


@torch.inference_mode()
def prune(model: pathlib.Path, windows: torch.Tensor, out: pathlib.Path, sparsity: float, form: str) -> object:
    phases, layers, published = Phases(), [], form == "published"
    start = time.perf_counter()
    config = json.loads((model / "config.json").read_text())
    family, blocks = FAMILIES[config["model_type"]], config["num_hidden_layers"]
    with phases.time("read"):
        tensors = load_file(model / "model.safetensors")
        states = [family.embed(tensors, part) for part in windows.split(BATCH[form])]
    for block in range(blocks):
        prefix = f"{family.prefix}{block}."
        with phases.time("read"):
            own = [name for name in tensors if name.startswith(prefix)]
            weights = {name.removeprefix(prefix): tensors[name].float() for name in own}
            dtype = tensors[own[0]].dtype
        with phases.time("calibrate"):
            hessians = calibrate(family, weights, config, states, published)
        groups = tuple((name,) for group in family.groups for name in group) if published else family.groups
        for group in groups:
            for layer in prune_group(weights, group, hessians.pop(group[0]), sparsity, dtype, phases):
                name = f"{prefix}{layer['name']}.weight"
                layers.append({**layer, "name": name})
                tensors[name] = weights[f"{layer['name']}.weight"].to(dtype)
        if published or block < blocks - 1:
            with phases.time("forward"):
                states = [family.forward(weights, x, config) for x in states]
    with phases.time("write"):
        out.mkdir(parents=True, exist_ok=True)
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        (out / "config.json").write_text(json.dumps(config))
    return {"seconds": {**phases.seconds, "total": time.perf_counter() - start}, "layers": layers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("windows", type=pathlib.Path)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--form", choices=BATCH, default="published")
    args = parser.parse_args()
    windows = torch.tensor(json.loads(args.windows.read_text()))
    for line in sys.stdin:
        result = prune(args.model, windows, pathlib.Path(line.strip()), args.sparsity, args.form)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
