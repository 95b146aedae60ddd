"""Operations on the parameters of a sharded model outside of the blocks, which are never gathered together.

A rank that needs a parameter requests it, and all ranks serve the request. Ranks may have different numbers
of batches, and a rank may fail, so the ranks exchange their requests before each step that communicates.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from pare_llm.pruning.model.sharding import full_tensor, is_shard, without_hooks
from pare_llm.pruning.ranks import Ranks

_Request = tuple[str, tuple[int, ...] | None]
"""The name of a parameter, and the rows of it to look up. None requests the whole parameter."""


class ShardedOperations(TorchFunctionMode):
    """Lets operations of PyTorch use shards as if they were whole parameters."""

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        """Serve the sharded parameters of `model`, on every rank of `ranks`."""
        super().__init__()
        self._model = model
        self._ranks = ranks
        parameters = {name: each for name, each in model.named_parameters() if is_shard(each)}
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        # Operations on the detached shards are not intercepted, because `_names` does not have their ids.
        self._shards = {name: parameter.detach() for name, parameter in parameters.items()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run operations on shards until the context ends, on every rank, without the hooks of FSDP2.

        A lookup in an embedding gets its rows from the ranks that own them. For any other operation, the
        parameter is gathered, and freed after the operation. A rank that leaves the context, with or without
        an error, serves the others until all have left it.
        """
        if not self._shards:
            yield
            return
        try:
            with without_hooks(self._model), self:
                yield
        finally:
            while any(requests := self._ranks.collect(None)):
                self._serve(requests, None)

    def whole(self, value: Any) -> Any:
        """Return the whole parameter if `value` is a sharded parameter of the model, and else `value`."""
        name = self._names.get(id(value))
        return value if name is None else self._request((name, None))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation. The mode is not active meanwhile."""
        if func is functional.embedding:
            return self._embedding(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "__get__":
            attribute = func(*args)
            if not isinstance(attribute, Tensor):  # such as the dtype, which shards have too
                return attribute
        return func(*tree_map(self.whole, args), **tree_map(self.whole, kwargs or {}))

    def _embedding(
        self,
        tokens: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Return the rows (..., width) of an embedding (rows, width) for `tokens` (...)."""
        name = self._names.get(id(weight))
        if name is None or max_norm is not None:  # the norm is limited by writing to the embedding
            return functional.embedding(tokens, self.whole(weight), padding_idx, max_norm, *args, **kwargs)
        indices = tokens.flatten().tolist()
        for index in indices:
            if not 0 <= index < len(weight):
                raise IndexError(f"{name}: has {len(weight)} rows, got the token {index}")
        return self._request((name, tuple(indices))).view(*tokens.shape, weight.shape[1])

    def _request(self, request: _Request) -> Tensor:
        answer = self._serve(self._ranks.collect(request), request)
        assert answer is not None
        return answer

    def _serve(self, requests: Sequence[_Request | None], mine: _Request | None) -> Tensor | None:
        """Compute the answers to the requests of all ranks one after the other, and return that to `mine`."""
        answer: Tensor | None = None
        for request in dict.fromkeys(requests):
            if request is None:
                continue
            name, indices = request
            shard = self._shards[name]
            values = full_tensor(shard) if indices is None else _look_up(shard, indices)
            if request == mine:
                answer = values
        return answer


def _look_up(shard: Tensor, indices: tuple[int, ...]) -> Tensor:
    """Return rows of a sharded matrix as a sum: each rank adds its own rows, and 0 for the others."""
    assert isinstance(shard, DTensor)
    mesh = shard.device_mesh
    rows = torch.tensor(indices, device=shard.device)
    shared = DTensor.from_local(rows, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return full_tensor(functional.embedding(shared, shard))
