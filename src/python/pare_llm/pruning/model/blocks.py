"""Finds the transformer blocks of a model, which form a chain: each output is the next input."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from pare_llm.arguments import require
from pare_llm.layers.find_layers import find_layers


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

    By default they are the members of the only outermost `nn.ModuleList` of one class with linear layers. A
    ValueError says that there is none, or several as in T5, or that a given block is not in the model.
    """
    names = {module: name for name, module in model.named_modules()}
    if blocks is None:
        modules = list(_only_stack(model))
    else:
        require("blocks", blocks, (list, tuple, nn.ModuleList, nn.Sequential), "a list of names or modules")
        for index, block in enumerate(blocks):
            require(f"blocks[{index}]", block, (str, nn.Module), "a name or a module")
        modules = [_named_module(model, block) for block in blocks]
    if not modules:
        raise ValueError("blocks: must name at least one module, got an empty list")
    for module in modules:
        if module not in names:
            raise ValueError(f"blocks: {type(module).__name__} is not a module of the model")
    return [Block(names[module], module, index) for index, module in enumerate(modules)]


def _only_stack(model: nn.Module) -> nn.ModuleList:
    stacks = [stack for stack in _outermost_lists(model) if find_layers(stack)]
    if not stacks:
        raise ValueError(
            f"{type(model).__name__}: has no nn.ModuleList of modules of one class; "
            "name its blocks with blocks="
        )
    if len(stacks) > 1:
        names = {module: name for name, module in model.named_modules()}
        listed = " and ".join(f"{names[stack]} ({len(stack)} blocks)" for stack in stacks)
        raise ValueError(
            f"{type(model).__name__}: has several stacks of blocks, {listed}, and one run prunes one stack; "
            f"name it, for example with blocks=model.{names[stacks[0]]}"
        )
    return stacks[0]


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


class BlockStore:
    """The blocks of a model that is in memory. A subclass loads the weights of one block at a time."""

    def load(self, block: Block) -> None:
        """Load the dense weights of a block into its module. Idempotent until the block is saved."""

    def save(self, block: Block, changed: Collection[nn.Parameter]) -> None:
        """Store the `changed` parameters of a block, whose module is not needed any more."""

    def free(self, block: Block) -> None:
        """Free the dense weights of a block until they are loaded again. Idempotent."""
