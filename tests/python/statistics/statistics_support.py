"""Float64 references that share no code with the package, and a counter of the bytes that are allocated."""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-6
"""How far H may be from the float64 sum, as a share of the largest entry."""


def reference_hessian(inputs: Iterable[Tensor]) -> Tensor:
    """Return Σ x xᵀ·n/‖x‖² over all tokens x with n entries in float64, computed token by token."""
    rows = torch.cat([x.detach().double().reshape(-1, x.shape[-1]) for x in inputs])
    weights = rows.shape[1] / rows.square().sum(1).clamp(min=1e-30)
    return torch.einsum("ti,t,tj->ij", rows, weights, rows)


def largest_deviation(actual: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference as a share of the largest entry of `expected`."""
    assert actual.shape == expected.shape
    difference = (actual.double() - expected).abs().max().item()
    return difference / expected.abs().max().item() if difference else 0.0


@contextmanager
def captured_inputs(modules: dict[str, nn.Module]) -> Any:
    """Yield a dictionary of lists, to which the inputs of the modules are appended in float64."""
    inputs: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, args: inputs[name].append(args[0].detach().double().clone())

    hooks = [module.register_forward_pre_hook(keep(name)) for name, module in modules.items()]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


class AllocationPeak(TorchDispatchMode):
    """Counts the bytes that operations allocate inside the `with`, at the moment with the most bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._live: dict[StorageWeakRef, int] = {}
        self._foreign: set[StorageWeakRef] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count the storages that did not exist before."""
        for storage in _storages((args, kwargs)):
            if StorageWeakRef(storage) not in self._live:
                self._foreign.add(StorageWeakRef(storage))
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if StorageWeakRef(storage) not in self._foreign:
                self._live[StorageWeakRef(storage)] = storage.nbytes()
        self._live = {ref: size for ref, size in self._live.items() if not ref.expired()}
        self.bytes = max(self.bytes, sum(self._live.values()))
        return result


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
