"""Refuses models whose weights cannot be pruned in place."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pare_llm.layers.find_layers import checkpoint_name
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer


def require_weights(model: nn.Module) -> None:
    """Refuse a model some of whose weights are elsewhere.

    Raises:
        ValueError: if a parameter is offloaded by accelerate, is on the meta device, or is partitioned by
            DeepSpeed ZeRO-3. The message names the parameter.
    """
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "ds_id"):
            raise ValueError(
                f"{name}: is partitioned by DeepSpeed ZeRO-3; prune the model before deepspeed.initialize"
            )
        if not parameter.is_meta:
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        # The attribute in which accelerate stores the hook that loads the weights for each call.
        if hasattr(module, "_hf_hook"):
            raise ValueError(
                f"{name}: accelerate has offloaded this weight to the CPU or the disk and loads it for each "
                "call only; load the model without device_map, or prune its folder with prune_folder"
            )
        raise ValueError(
            f"{name}: is on the meta device; prune a model that does not fit into memory with prune_folder"
        )


def require_dense(blocks: Iterable[Block], layers: Iterable[Layer]) -> None:
    """Refuse a model whose layers are quantised.

    Raises:
        TypeError: naming the layer and how its weight is stored.
    """
    for block in blocks:
        for name, module in block.module.named_modules():
            if type(module).__module__.startswith("torch.ao.nn.quantized"):
                place = checkpoint_name(f"{block.name}.{name}")
                raise TypeError(f"{place}: is a quantised {type(module).__name__}; {_ADVICE}")
    for layer in layers:
        parameter: Tensor = layer.linear.parameter
        values = parameter.data
        if not isinstance(values, Tensor) or type(values) not in (Tensor, nn.Parameter, DTensor):
            raise TypeError(f"{layer.weight_name}: is stored as {type(values).__name__}; {_ADVICE}")
        if not parameter.is_floating_point():
            raise TypeError(f"{layer.weight_name}: is stored as {parameter.dtype}; {_ADVICE}")


_ADVICE = "prune the model before it is quantised"
