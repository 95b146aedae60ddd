"""Checks that the weights of a model have the zeros of a pattern or a sparsity."""

import math
import re
from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor, nn

from pare_llm.finetuning.choose_weights import choose_weights
from pare_llm.finetuning.kept_zeros import Verification, ZeroCount
from pare_llm.finetuning.model_weights import ModelWeight
from pare_llm.layers.find_layers import embedding_weights, find_layers, other_matrices
from pare_llm.layers.linear_layer import full_shape, require_stored
from pare_llm.layers.unwrap import unwrap
from pare_llm.pruning.model.sharding import full_tensor


@torch.no_grad()
def verify(
    model: nn.Module,
    pattern: str = "unstructured",
    *,
    sparsity: float | None = None,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
) -> Verification:
    """Check the zeros of a model, and count them in each weight.

    Args:
        model: A module, also inside the wrappers that `keep_zeros` accepts.
        pattern: "n:m", such as "2:4", allows at most n nonzeros in every m neighbouring inputs of an output.
            If the last group is incomplete and has g inputs, it may have ceil(n·g/m) nonzeros, as Pare
            prunes it. "unstructured" has no such rule.
        sparsity: Each weight must have at least round(sparsity · entries) zeros. The default is 0.5 if the
            pattern is "unstructured", and no such rule otherwise.
        layers: Patterns of names, see `keep_zeros`.
        folder: A folder that `pare prune` wrote. Its pare.json names the pruned weights.

    Without `layers` and `folder`, all linear weights are checked, except the output layer of a transformers
    model and the routers of experts. Each layer of an expert is checked by itself. Weights under FSDP2 are
    gathered one at a time, so every process must call this function.

    Returns:
        `ok`, the failures by name, the zeros of each weight, and the matrices that were not checked.

    Raises:
        ValueError: If the pattern or the sparsity is malformed, if a name is wrong, if DeepSpeed ZeRO-3 has
            partitioned a weight, or if a weight is computed from other tensors, as by `torch.nn.utils.prune`.
    """
    group = _parse_pattern(pattern)
    if sparsity is None and group is None:
        sparsity = 0.5
    if sparsity is not None and not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity: must be from 0 to 1, not {sparsity}")
    weights = choose_weights(model, layers=layers, folder=folder)
    result = Verification()
    if layers is None and folder is None:
        network = unwrap(model)
        for name, layer in find_layers(network).items():
            require_stored(name, layer)
        embeddings = embedding_weights(network)
        weights = [weight for weight in weights if id(weight.parameter) not in embeddings]
        found = [layer for weight in weights for layer in weight.layers.values()]
        result.unchecked = list(other_matrices(network, found, embeddings))
    if not weights:
        raise ValueError("verify: the model has no linear weight")
    for weight in weights:
        for name, values in _gather(weight).items():
            zeros = values.numel() - int(torch.count_nonzero(values))
            result.counts[name] = ZeroCount(zeros, values.numel())
            failure = _pattern_failure(values, group) or _sparsity_failure(zeros, values.numel(), sparsity)
            if failure:
                result.failures[name] = failure
    return result


def _parse_pattern(pattern: str) -> tuple[int, int] | None:
    """Return n and m of a pattern n:m, or None for "unstructured"."""
    if pattern == "unstructured":
        return None
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise ValueError(f'pattern: must be "unstructured" or n:m with 0 < n < m, not "{pattern}"')
    return int(match[1]), int(match[2])


def _gather(weight: ModelWeight) -> dict[str, Tensor]:
    """Return the weights [out, in] that the parameter holds, by their names."""
    if weight.parameter.shape != full_shape(weight.parameter):
        raise ValueError(
            f"{weight.name}: is partitioned by DeepSpeed ZeRO-3; call verify inside "
            "deepspeed.zero.GatheredParameters, or verify the saved model"
        )
    whole = full_tensor(weight.parameter)
    layers = weight.layers.items()
    return {f"{name}.weight".lstrip("."): layer.part(whole) for name, layer in layers} or {weight.name: whole}


def _pattern_failure(values: Tensor, group: tuple[int, int] | None) -> str | None:
    if group is None:
        return None
    keep, size = group
    inputs = values.shape[1]
    rest = inputs % size
    grouped = nn.functional.pad(values != 0, (0, -inputs % size)).reshape(len(values), -1, size).sum(-1)
    limit = torch.full((grouped.shape[1],), keep, device=values.device)
    if rest:
        limit[-1] = math.ceil(keep * rest / size)
    wrong = (grouped > limit).nonzero()
    if len(wrong) == 0:
        return None
    row, column = wrong[0].tolist()
    return (
        f"{len(wrong)} of {grouped.numel()} groups of {size} inputs break {keep}:{size}; the first is in "
        f"output {row} from input {column * size} and has {int(grouped[row, column])} nonzeros"
    )


def _sparsity_failure(zeros: int, entries: int, sparsity: float | None) -> str | None:
    if sparsity is None or zeros >= (needed := int(sparsity * entries + 0.5)):
        return None
    return f"has {zeros} zeros of {entries} entries, but a sparsity of {sparsity} needs {needed}"
