"""Removes the wrappers of data parallelism and of `torch.compile` from a model."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside of `DistributedDataParallel`, `DataParallel` and `torch.compile`.

    Models that `fully_shard` (FSDP2) has sharded have no wrapper, so they are returned as they are.

    Raises:
        TypeError: if the model is wrapped in `FullyShardedDataParallel` (FSDP1), whose parameters are
            flattened.
    """
    if isinstance(model, (DistributedDataParallel, DataParallel)):
        inner: nn.Module = model.module
        return unwrap(inner)
    if isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
        return unwrap(compiled)
    if type(model).__name__ == "FullyShardedDataParallel":
        raise TypeError(
            "prune_: the model is wrapped in FullyShardedDataParallel, which flattens its parameters; "
            "shard it with torch.distributed.fsdp.fully_shard instead"
        )
    return model
