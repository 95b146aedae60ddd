"""Sums the Hessians of data-parallel ranks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from pare_llm.layers.linear_layer import LinearLayer, list_names
from pare_llm.statistics.hessian import Hessian, symmetric_matrix
from pare_llm.statistics.shared_hessians import SharedHessians


@dataclass(frozen=True)
class _RankState:
    """The records of one rank without the matrices. The ranks exchange these states before they sum."""

    in_features: dict[str, int]
    """The number of inputs of each layer, by the name of the layer."""
    indices: dict[str, int]
    """The index of each layer's Hessian. Layers with a shared Hessian have the same index. A layer that was
    not called on the rank has none."""
    tokens: list[int]
    devices: list[str]
    """The type of the device of each Hessian."""


def all_reduce_hessians(
    layers: Mapping[str, LinearLayer], shared: SharedHessians, group: dist.ProcessGroup | None
) -> None:
    """Replace every Hessian by its sum over the ranks of `group`. Each rank must call this function.

    Only the upper triangles are sent. Afterwards, layers share a Hessian if the same ranks called them, and
    they shared one on each of these ranks. A rank that did not call a layer contributes zeros. If the ranks
    record different layers, every rank raises the same ValueError, and nothing is changed.
    """
    hessians, state = _local_state(layers, shared)
    states: list[_RankState] = [state] * dist.get_world_size(group)
    dist.all_gather_object(states, state, group=group)
    _check_same_layers(states)
    rank = dist.get_rank(group)
    sums = _layers_by_sum(states)
    uses = Counter(indices[rank] for indices in sums)
    for indices, names in sums.items():
        index = indices[rank]
        mine = None if index is None else hessians[index]
        called = [(other, i) for other, i in zip(states, indices, strict=True) if i is not None]
        first_rank, first_index = called[0]
        device = _device(first_rank.devices[first_index], group)
        matrix = _sum_matrices(mine, state.in_features[names[0]], device, group)
        tokens = sum(other.tokens[i] for other, i in called)
        # A Hessian of this rank that is part of several sums must not change.
        total = mine if mine is not None and uses[index] == 1 else shared.create(0, device)
        total.replace(matrix, tokens)
        shared.assign({layers[name] for name in names}, total)


def _local_state(
    layers: Mapping[str, LinearLayer], shared: SharedHessians
) -> tuple[list[Hessian], _RankState]:
    """Return the distinct Hessians of this rank, and the state to exchange."""
    by_name = {name: hessian for name, layer in layers.items() if (hessian := shared.hessian(layer))}
    hessians = list(dict.fromkeys(by_name.values()))
    index = {hessian: i for i, hessian in enumerate(hessians)}
    return hessians, _RankState(
        in_features={name: layer.in_features for name, layer in layers.items()},
        indices={name: index[hessian] for name, hessian in by_name.items()},
        tokens=[hessian.tokens for hessian in hessians],
        devices=[hessian.matrix.device.type for hessian in hessians],
    )


def _check_same_layers(states: list[_RankState]) -> None:
    """Raise ValueError if a rank has other layers, or layers of other sizes, than the first rank."""
    first = states[0].in_features
    for rank, state in enumerate(states):
        missing = [name for name in first if name not in state.in_features]
        extra = [name for name in state.in_features if name not in first]
        if missing or extra:
            without, having, names = (rank, 0, missing) if missing else (0, rank, extra)
            raise ValueError(
                f"all_reduce: rank {without} does not record {list_names(names)}, but rank {having} does; "
                "all ranks must record the same layers"
            )
        for name, size in state.in_features.items():
            if size != first[name]:
                raise ValueError(
                    f"all_reduce: layer {name!r} has {first[name]} inputs on rank 0, "
                    f"but {size} on rank {rank}"
                )


def _layers_by_sum(states: list[_RankState]) -> dict[tuple[int | None, ...], list[str]]:
    """Group the layers of each sum, which has the indices of its Hessian on all ranks as its key."""
    sums: dict[tuple[int | None, ...], list[str]] = {}
    for name in states[0].in_features:
        indices = tuple(state.indices.get(name) for state in states)
        if any(index is not None for index in indices):
            sums.setdefault(indices, []).append(name)
    return sums


def _sum_matrices(
    mine: Hessian | None, in_features: int, device: torch.device, group: dist.ProcessGroup | None
) -> Tensor:
    """Return the sum of the matrices of all ranks, on the device of this rank's matrix."""
    if mine is None:
        upper = torch.zeros(in_features * (in_features + 1) // 2, dtype=torch.float32, device=device)
    else:
        upper = mine.upper().to(device)
    dist.all_reduce(upper, group=group)
    return symmetric_matrix(upper.to(device if mine is None else mine.matrix.device), in_features)


def _device(kind: str, group: dist.ProcessGroup | None) -> torch.device:
    """Return the device of this rank's part. With several types of devices, the ranks would wait for ever."""
    if kind == "cuda" or dist.get_backend(group) == "nccl":  # NCCL cannot send from the CPU
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(kind)
