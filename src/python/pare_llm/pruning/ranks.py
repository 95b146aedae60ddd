"""The processes that prune one model together. Without `torch.distributed` there is one rank."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Ranks:
    """The ranks of a process group. All must call the methods in the same order, because they communicate."""

    def __init__(self, group: "dist.ProcessGroup | None" = None) -> None:
        """Use `group`, or the world group if `torch.distributed` is initialised."""
        self.group = group
        is_distributed = dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size(group) if is_distributed else 1
        self.index = dist.get_rank(group) if is_distributed else 0
        if self.index < 0:
            raise ValueError("group: this process is not a member of the process group")

    def together(self, action: Callable[[], T]) -> T:
        """Return the value of `action`, or raise its error and, on the other ranks, a RuntimeError.

        `action` must not communicate after a step that may fail on one rank only.
        """
        value: T | None = None
        failure: Exception | None = None
        try:
            value = action()
        except Exception as error:
            failure = error
        messages = self.collect(None if failure is None else describe_error(failure))
        if failure is not None:
            raise failure
        for rank, message in enumerate(messages):
            if message is not None:
                raise RuntimeError(f"rank {rank} of {self.count} failed: {message}")
        return value  # type: ignore[return-value]  # no rank failed, so `action` returned

    def collect(self, value: T) -> list[T]:
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def share(self, value: T, source: int) -> T:
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=self._global_rank(source), group=self.group)
        return values[0]

    def share_tensor(self, tensor: Tensor, source: int) -> Tensor:
        """Return `tensor`, overwritten by the tensor of the rank `source`, in the same shape and dtype."""
        if self.count == 1:
            return tensor
        sent = tensor.to(self._device).contiguous()
        # Not every backend sends every dtype, but all of them send bytes.
        dist.broadcast(sent.view(torch.uint8), src=self._global_rank(source), group=self.group)
        return sent.to(tensor.device)

    def send(self, tensor: Tensor, destination: int) -> None:
        """Send a tensor to the rank `destination`, which must call `receive` for it."""
        sent = tensor.detach().to(self._device).contiguous().reshape(-1)
        dist.send(sent.view(torch.uint8), dst=self._global_rank(destination), group=self.group)

    def receive(self, shape: Sequence[int], dtype: torch.dtype, source: int) -> Tensor:
        """Return the tensor that the rank `source` sends."""
        values = torch.empty(math.prod(shape), dtype=dtype, device=self._device)
        dist.recv(values.view(torch.uint8), src=self._global_rank(source), group=self.group)
        return values.view(*shape)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of the tensors of all ranks, which have the same shape and dtype."""
        if self.count == 1:
            return tensor
        total = tensor.to(self._device, copy=True).contiguous()
        dist.all_reduce(total, group=self.group)
        return total.to(tensor.device)

    @property
    def _device(self) -> torch.device:
        """The device whose tensors the group can send."""
        if dist.get_backend(self.group) == "nccl":
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    def _global_rank(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


def assign_owners(costs: Mapping[str, int], count: int) -> dict[str, int]:
    """Return the rank that each thing belongs to, by the name of the thing, if there are `count` ranks.

    The things are assigned in the order of falling cost, each to the rank with the least cost so far. All
    ranks compute the same assignment.
    """
    loads = [0] * count
    owners: dict[str, int] = {}
    for name in sorted(costs, key=lambda name: -costs[name]):
        rank = loads.index(min(loads))
        owners[name] = rank
        loads[rank] += costs[name]
    return owners


def describe_error(error: BaseException) -> str:
    """Return the class and the message of an error, in one line."""
    return f"{type(error).__name__}: {error}"
