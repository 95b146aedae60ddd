"""Maps the parameters of blocks to the tensors of a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.layers.experts import checkpoint_names
from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer


@dataclass(frozen=True)
class StoredPart:
    """A stored tensor that is a parameter, or the part of a parameter that belongs to one layer."""

    name: str
    layer: LinearLayer | None = None
    """The layer whose weight is the tensor. None if the tensor is the whole parameter."""

    def of(self, values: Tensor) -> Tensor:
        """Return the tensor as a view of `values`, which have the shape of the parameter."""
        return values if self.layer is None else self.layer.part(values)


BlockNames = dict[str, list[StoredPart]]
"""The stored tensors of each parameter and buffer in a block, by the name in the block."""


def stored_block_names(
    model: PreTrainedModel, blocks: Sequence[Block], layers: Sequence[Layer], source: CheckpointFolder
) -> list[BlockNames]:
    """Return the stored tensors of each block, for a model whose parameters are on the meta device.

    Experts are stored one by one, where the model has one parameter for all. Buffers that the model computes
    are left out. A ValueError names a parameter that is missing or has another shape.
    """
    parts: dict[int, list[Layer]] = {}
    for layer in layers:
        if layer.linear.is_part:
            parts.setdefault(id(layer.linear.parameter), []).append(layer)
    prefix = model.base_model_prefix
    names: list[BlockNames] = []
    for block in blocks:
        names.append({})
        for name, values in block.module.state_dict(keep_vars=True).items():
            full_name = f"{block.name}.{name}"
            is_stored = _stored_name(source, full_name, prefix) is not None
            if not is_stored and (of_layers := parts.get(id(values))):
                names[-1][name] = [
                    StoredPart(
                        require_stored_name(model, source, layer.weight_name, layer.shape), layer.linear
                    )
                    for layer in of_layers
                ]
            elif is_stored or isinstance(values, nn.Parameter):
                stored = require_stored_name(model, source, full_name, values.shape)
                names[-1][name] = [StoredPart(stored)]
    return names


def require_stored_name(
    model: PreTrainedModel, source: CheckpointFolder, name: str, shape: Sequence[int]
) -> str:
    """Return the stored name of a parameter. A ValueError says that it is missing or has another shape."""
    stored = _stored_name(source, name, model.base_model_prefix)
    if stored is None:
        raise ValueError(
            f"{source.path}: lacks the parameter {name}; "
            "prune_folder reads only checkpoints that store each parameter of the model as it is"
        )
    found = source.info(stored).shape
    if found != tuple(shape):
        raise ValueError(f"{source.path}: {stored} must have the shape {tuple(shape)}, not {found}")
    return stored


def _stored_name(source: CheckpointFolder, parameter: str, base_prefix: str) -> str | None:
    """Return the stored name of a parameter, with or without the prefix of the base model, or None."""
    prefix = f"{base_prefix}."
    candidates = (
        candidate
        for name in checkpoint_names(parameter)
        for candidate in (name, name.removeprefix(prefix), prefix + name)
    )
    return next((name for name in candidates if name in source), None)
