"""Finds the transformer blocks of a model.

Blocks are modules that form a chain: the output of each block is the input of the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Block:
    """One block of a model."""

    name: str
    """The name of the module in the model, such as `model.layers.0`."""
    module: nn.Module
    index: int
    """The position in the chain, from 0."""


def find_blocks(model: nn.Module, blocks: Sequence[str | nn.Module] | None = None) -> list[Block]:
    """Return the blocks of `model` in the order of the forward pass.

    Without `blocks`, the blocks are the members of the longest `nn.ModuleList` whose members all have the
    same class. Lists inside of such a list, for example the experts of a block, do not count.

    Raises:
        ValueError: if the model has no such list, if `blocks` is empty, or if a block is not a module of the
            model.
    """
    names = {module: name for name, module in model.named_modules()}
    if blocks is None:
        modules = list(_longest_list(model))
    else:
        modules = [_named_module(model, block) for block in blocks]
    if not modules:
        raise ValueError("blocks: must name at least one module, got an empty list")
    for module in modules:
        if module not in names:
            raise ValueError(f"blocks: {type(module).__name__} is not a module of the model")
    return [Block(names[module], module, index) for index, module in enumerate(modules)]


def _longest_list(model: nn.Module) -> nn.ModuleList:
    candidates = list(_outermost_lists(model))
    if not candidates:
        raise ValueError(
            f"{type(model).__name__}: has no nn.ModuleList of modules of one class; "
            "name its blocks with blocks="
        )
    return max(candidates, key=len)


def _outermost_lists(module: nn.Module) -> list[nn.ModuleList]:
    """Return the lists of modules of one class under `module`, without the lists inside of these lists."""
    if isinstance(module, nn.ModuleList) and len({type(member) for member in module}) == 1:
        return [module]
    return [found for child in module.children() for found in _outermost_lists(child)]


def _named_module(model: nn.Module, block: str | nn.Module) -> nn.Module:
    if isinstance(block, nn.Module):
        return block
    try:
        return model.get_submodule(block)
    except AttributeError:
        raise ValueError(f"blocks: the model has no module {block!r}") from None
