"""The part of a weight that this process stores."""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


@torch.no_grad()
def local_shard(tensor: Tensor) -> Tensor:
    """Return the part of `tensor` that this process stores. The part shares its memory with `tensor`.

    - A DTensor, such as a weight or a gradient under FSDP2, gives its local shard without communication.
    - A weight under DeepSpeed ZeRO-3 gives its local partition in the model's dtype, which is flat.
    - Any other tensor gives itself.
    """
    if isinstance(tensor, DTensor):
        return tensor.to_local()
    partition: Tensor | None = getattr(tensor, "ds_tensor", None)
    return tensor.detach() if partition is None else partition.detach().view(-1)


def is_sharded(tensor: Tensor) -> bool:
    """Whether other processes store other parts of `tensor`."""
    return isinstance(tensor, DTensor) or hasattr(tensor, "ds_tensor")
