"""Finds the two-dimensional weights of a model, with the names that they have in a checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from pare_llm.finetuning.local_shard import full_shape

# Parts of a name that wrappers add: torch.compile, activation checkpointing, and adapters of peft.
_WRAPPER_PARTS = {"_orig_mod", "_checkpoint_wrapped_module", "base_layer"}


# The layers whose weights are in a parameter of nn.MultiheadAttention.
_ATTENTION_LAYERS = {
    "in_proj_weight": ("q_proj", "k_proj", "v_proj"),
    "q_proj_weight": ("q_proj",),
    "k_proj_weight": ("k_proj",),
    "v_proj_weight": ("v_proj",),
}


@dataclass(frozen=True)
class ModelWeight:
    """One parameter of a model."""

    # The name in the checkpoint, such as `model.decoder.layers.0.fc1.weight`.
    name: str
    parameter: nn.Parameter
    # The names of the layers that the parameter belongs to, as `HessianRecorder` and `prune_` have them.
    layers: tuple[str, ...]
    # The dimension of the inputs: 1 for nn.Linear and nn.MultiheadAttention, 0 for the Conv1D of
    # transformers.
    input_dim: int
    # Whether the parameter is the weight of a linear layer, or projects the inputs of nn.MultiheadAttention.
    is_linear: bool
    # The reason why the parameter can never be masked, such as "is an embedding", or None.
    refusal: str | None


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside the wrappers of data parallelism, torch.compile, DeepSpeed and peft."""
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            inner = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            inner = model._orig_mod
        elif _has_base(model, "deepspeed.", "DeepSpeedEngine"):
            inner = model.module
        elif _has_base(model, "peft.", "PeftModel"):
            inner = model.get_base_model()  # type: ignore[operator]
        else:
            return model
        assert isinstance(inner, nn.Module)
        model = inner


def model_weights(model: nn.Module) -> list[ModelWeight]:
    """List the parameters of `model`, in its order. A parameter that several modules share is listed once.

    Raises:
        TypeError: If FSDP1 has flattened the parameters, because a process then has no rows of a weight.
    """
    model = unwrap(model)
    adapters = {id(parameter) for parameter in _adapter_parameters(model)}
    found: dict[int, ModelWeight] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if hasattr(module, "_fsdp_wrapped_module"):
            raise TypeError(
                f"model: {prefix or 'the model'} is wrapped by FSDP1 (FullyShardedDataParallel), which "
                "flattens weights; shard the model with torch.distributed.fsdp.fully_shard (FSDP2) instead"
            )
        for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            place = _checkpoint_name(prefix)
            weight = ModelWeight(
                name=f"{place}.{key}" if place else key,
                parameter=parameter,
                layers=_layer_names(place, key),
                input_dim=0 if _is_conv1d(module) else 1,
                is_linear=_is_linear_weight(module, key),
                refusal=_refusal(module, parameter, adapters),
            )
            other = found.get(id(parameter), weight)
            # A weight that is tied to an embedding is an embedding, whichever module is listed first.
            shared = other if other.refusal or (other.is_linear and not weight.refusal) else weight
            found[id(parameter)] = replace(shared, layers=tuple(dict.fromkeys(other.layers + weight.layers)))
    return list(found.values())


def _checkpoint_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_PARTS)


def _layer_names(place: str, key: str) -> tuple[str, ...]:
    """Return the names of the layers that use the parameter `key` of the module at `place`."""
    keys = _ATTENTION_LAYERS.get(key, ("",) if key == "weight" else (key,))
    return tuple(".".join(filter(None, (place, part))) for part in keys)


def _refusal(module: nn.Module, parameter: Tensor, adapters: set[int]) -> str | None:
    dimensions = len(full_shape(parameter))
    if isinstance(module, nn.Embedding):
        return "is an embedding, or is tied to one"
    if id(parameter) in adapters:
        return "belongs to an adapter"
    if dimensions != 2:
        return f"has {dimensions} dimension{'s' * (dimensions != 1)}, and masks cover weights of 2 dimensions"
    if not parameter.is_floating_point():
        return f"is stored as {parameter.dtype}, and masks cover floating-point weights"
    return None


def _is_linear_weight(module: nn.Module, key: str) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return key in _ATTENTION_LAYERS
    return key == "weight" and (isinstance(module, nn.Linear) or _is_conv1d(module))


def _is_conv1d(module: nn.Module) -> bool:
    """Whether `module` is the Conv1D of transformers, whose weight has the shape (in, out)."""
    return _has_base(module, "transformers.pytorch_utils", "Conv1D")


def _has_base(value: object, module: str, name: str) -> bool:
    """Whether a base class of `value` has this name. The library need not be imported to find out."""
    return any(base.__name__ == name and base.__module__.startswith(module) for base in type(value).__mro__)


def _adapter_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters that adapters, such as LoRA of peft, add to the layers that they wrap."""
    for module in model.modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, nn.Module):
            own = {id(parameter) for parameter in base.parameters()}
            yield from (parameter for parameter in module.parameters() if id(parameter) not in own)
