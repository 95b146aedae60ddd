"""Trains a pruned model further without losing its zeros."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import nn

from pare_llm.finetuning.choose_weights import choose_weights
from pare_llm.finetuning.deepspeed_zero import hook_deepspeed, is_deepspeed_optimizer
from pare_llm.finetuning.kept_zeros import KeptZeros


def keep_zeros(
    model: nn.Module,
    optimizer: Any,
    *,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
) -> KeptZeros:
    """Keep the zeros of `model` while `optimizer` trains it.

    The masks are made from the weights at the time of the call, as `weight != 0`. The value -0.0 counts as
    zero. From then on, the masked gradients are zero as soon as backward has accumulated them, so they do not
    count in the norm of the gradients. After each step of the optimizer the masked weights are exactly +0.0.

    Call this function when the model and the optimizer are ready: after DistributedDataParallel,
    `fully_shard` or `deepspeed.initialize`, and after the pruned weights or the state of an earlier run
    were loaded. Such a state contains no masks. Under FSDP2 and DeepSpeed, each process has the masks of
    its own shards, and the masks need no communication.

    The function does not change the state of the optimizer. The state of masked entries is zero if all
    training had these masks. Momentum from dense training decays and has no effect, because the masked
    weights are set to zero after each step.

    Args:
        model: A module, also inside DistributedDataParallel, torch.compile, peft or a DeepSpeed engine.
        optimizer: An optimizer of torch or of accelerate, or `engine.optimizer` of DeepSpeed. Parameters
            that are added to it later are covered.
        layers: Patterns such as "fc2" or "*.layers.3.*", with the syntax of `pare prune --layers`.
        folder: A folder that `pare prune` wrote. Its pare.json names the pruned weights.

    Without `layers` and `folder`, the masks cover all weights of nn.Linear, of transformers' Conv1D and of
    the input projections of nn.MultiheadAttention that have a zero. Biases, norms, adapters and embeddings,
    even if tied to the output layer, are never masked.

    Returns:
        A handle with `verify()` and `remove()`. It is also a context manager.

    Raises:
        ValueError: If no entry of the model, or of a named weight, is zero, or if a name is wrong.
        TypeError: If the optimizer has no hooks, or if FSDP1 has flattened the weights.
    """
    while type(optimizer).__module__.startswith("accelerate."):
        optimizer = optimizer.optimizer
    weights = choose_weights(model, layers=layers, folder=folder)
    zeros = KeptZeros(model, weights, named=layers is not None or folder is not None)
    if is_deepspeed_optimizer(optimizer):
        hook_deepspeed(zeros, optimizer)
        return zeros
    if not hasattr(optimizer, "register_step_post_hook"):
        raise TypeError(
            f"optimizer: must be a torch.optim.Optimizer or DeepSpeed's, not {type(optimizer).__name__}"
        )
    zeros.hook_gradients()
    handle = optimizer.register_step_post_hook(lambda *_: zeros.apply())
    zeros.removals.callback(handle.remove)
    return zeros
