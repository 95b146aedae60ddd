"""Maps the parameters of blocks to the tensors of a checkpoint."""

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.pruning.model.blocks import Block

BlockNames = dict[str, str]
"""The names of stored tensors, by the names of the parameters and buffers in the block."""


def stored_block_names(
    model: PreTrainedModel, blocks: Sequence[Block], source: CheckpointFolder
) -> list[BlockNames]:
    """Return the names of the stored tensors of each block.

    Buffers that are not stored are left out, because the model computes them from its configuration.

    Raises:
        ValueError: if the checkpoint lacks a parameter, or has it in another shape.
    """
    names: list[BlockNames] = []
    for block in blocks:
        names.append({})
        for name, values in block.module.state_dict(keep_vars=True).items():
            full_name = f"{block.name}.{name}"
            is_required = isinstance(values, nn.Parameter)
            if is_required or _stored_name(source, full_name, model.base_model_prefix):
                names[-1][name] = require_stored_name(model, source, full_name, values)
    return names


def require_stored_name(model: PreTrainedModel, source: CheckpointFolder, name: str, values: Tensor) -> str:
    """Return the stored name of a parameter.

    Raises:
        ValueError: if the checkpoint lacks the parameter, or has it in another shape.
    """
    stored = _stored_name(source, name, model.base_model_prefix)
    if stored is None:
        raise ValueError(
            f"{source.path}: lacks the parameter {name}; "
            "prune_folder reads only checkpoints that store each parameter of the model as it is"
        )
    shape = source.info(stored).shape
    if shape != tuple(values.shape):
        raise ValueError(f"{source.path}: {stored} must have the shape {tuple(values.shape)}, not {shape}")
    return stored


def _stored_name(source: CheckpointFolder, parameter: str, base_prefix: str) -> str | None:
    """Return the stored name of a parameter, or None if it is not stored.

    Some checkpoints have the prefix of the base model, such as `transformer.`, and some have not.
    """
    prefix = f"{base_prefix}."
    candidates = (parameter, parameter.removeprefix(prefix), prefix + parameter)
    return next((name for name in candidates if name in source), None)
