"""Access to the weights of models that `fully_shard` (FSDP2) has sharded.

The hooks of FSDP2 gather weights at each call on all ranks, which may have different numbers of batches. So
`gathered` gathers them once, and the forward passes inside of it run without these hooks. It gathers each
parameter by itself, because FSDP2 can only gather everything that one `fully_shard` has sharded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate


class DirectCall(nn.Module):
    """Calls the forward method of a module without its hooks. All other attributes are the module's."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.__dict__["module"] = module  # not registered as a submodule

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["module"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["module"].forward(*args, **kwargs)


def call_module(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call a module. If it is sharded, its weights must be gathered, and its hooks are not called."""
    return module.forward(*args, **kwargs) if isinstance(module, FSDPModule) else module(*args, **kwargs)


def is_sharded(module: nn.Module) -> bool:
    """Return whether a parameter of `module` is a shard."""
    return any(is_shard(parameter) for parameter in module.parameters())


def reshard(model: nn.Module) -> None:
    """Free gathered parameters. FSDP2 leaves parameters of the model gathered after a forward pass."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def full_tensor(parameter: Tensor) -> Tensor:
    """Return the whole parameter. If it is sharded, every rank has to call this function."""
    values = parameter.detach()
    return values.full_tensor() if isinstance(values, DTensor) else values


@contextmanager
def gathered(module: nn.Module, gather: Callable[[Tensor], Tensor] = full_tensor) -> Iterator[None]:
    """Gather all weights under `module` in the dtype of their shards, on every rank, until the context ends.

    `gather` returns the whole parameter of a shard.
    """
    shards = [
        (part, name, parameter)
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
        if is_shard(parameter)
    ]
    whole: dict[int, nn.Parameter] = {}  # by the id of the shard, which several modules may have
    try:
        for part, name, shard in shards:
            if id(shard) not in whole:
                whole[id(shard)] = nn.Parameter(gather(shard), requires_grad=False)
            part._parameters[name] = whole[id(shard)]
        with without_hooks(module):
            yield
    finally:
        for part, name, shard in shards:
            part._parameters[name] = shard


@contextmanager
def without_hooks(module: nn.Module) -> Iterator[None]:
    """Let `call_module` run `module` without the hooks of FSDP2 in the modules under it."""
    names = [name for name, part in module.named_modules() if name and isinstance(part, FSDPModule)]
    with replaced(module, {name: DirectCall(module.get_submodule(name)) for name in names}):
        yield


@contextmanager
def replaced(model: nn.Module, replacements: dict[str, nn.Module]) -> Iterator[None]:
    """Replace modules of `model`, by name, until the context ends."""
    originals: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        # Inner modules come first, because their parents may be replaced too.
        for name in sorted(replacements, key=lambda name: -name.count(".")):
            parent_name, _, child = name.rpartition(".")
            parent = model.get_submodule(parent_name)
            originals.append((parent, child, getattr(parent, child)))
            parent._modules[child] = replacements[name]
        yield
    finally:
        for parent, child, original in reversed(originals):
            parent._modules[child] = original


def is_shard(parameter: Tensor) -> bool:
    """Return whether other ranks have other parts of the parameter."""
    return isinstance(parameter, DTensor)


@torch.no_grad()
def write_shard(parameter: Tensor, values: Tensor) -> None:
    """Copy `values`, which have the shape of the whole parameter, into the shard of this rank."""
    assert isinstance(parameter, DTensor)
    mesh, placements = parameter.device_mesh, parameter.placements
    local = values.to(parameter.to_local().device, parameter.dtype)
    whole = DTensor.from_local(local, mesh, [Replicate()] * mesh.ndim, run_check=False)
    parameter.to_local().copy_(whole.redistribute(placements=placements).to_local())
