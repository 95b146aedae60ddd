"""Removes the wrappers of a model: data parallelism, `torch.compile`, DeepSpeed and peft."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from pare_llm.arguments import require


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside of its wrappers. A model that `fully_shard` has sharded has no wrapper.

    The base model of a peft model still contains the adapters, so its forward pass uses them. A model that
    FSDP1 has flattened raises a TypeError.
    """
    require("model", model, nn.Module, "a torch.nn.Module")
    inner = wrapped_models(model)[-1]
    for name, module in inner.named_modules():
        if hasattr(module, "_fsdp_wrapped_module"):
            raise TypeError(
                f"model: {name or 'the model'} is wrapped by FSDP1 (FullyShardedDataParallel), which "
                "flattens weights; shard the model with torch.distributed.fsdp.fully_shard (FSDP2) instead"
            )
    return inner


def wrapped_models(model: nn.Module) -> list[nn.Module]:
    """Return `model`, the model inside of it, and so on."""
    models = [model]
    while (inner := _inner(models[-1])) is not None:
        models.append(inner)
    return models


def is_peft_model(model: nn.Module) -> bool:
    """Return whether `model` is the wrapper of peft."""
    return has_base(model, "peft.", "PeftModel")


def has_base(value: object, module: str, name: str) -> bool:
    """Return whether a base class of `value` has this name. The library need not be imported to find out."""
    return any(base.__name__ == name and base.__module__.startswith(module) for base in type(value).__mro__)


def _inner(model: nn.Module) -> nn.Module | None:
    inner: object = None
    if isinstance(model, (DistributedDataParallel, DataParallel)) or has_base(
        model, "deepspeed.", "DeepSpeedEngine"
    ):
        inner = model.module
    elif is_peft_model(model):
        inner = model.get_base_model()  # type: ignore[operator]
    else:
        inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None
