"""Refuses models whose weights cannot be pruned in place."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pare_llm.layers.linear_layer import require_stored
from pare_llm.pruning.model.layers import Layer

_ADVICE = "prune the model before it is quantised"

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def require_weights(model: nn.Module) -> None:
    """Refuse a model with a parameter on the meta device, offloaded by accelerate, or partitioned by ZeRO-3.

    The ValueError names the parameter. A TypeError names a module that `torch.ao` has quantised.
    """
    for name, module in model.named_modules():
        if type(module).__module__.startswith("torch.ao.nn.quantized"):
            raise TypeError(f"{name}: is a quantised {type(module).__name__}; {_ADVICE}")
        for key, parameter in module.named_parameters(name, recurse=False):
            if hasattr(parameter, "ds_id"):
                raise ValueError(
                    f"{key}: is partitioned by DeepSpeed ZeRO-3; prune the model before deepspeed.initialize"
                )
            # accelerate stores the hook that loads the weights for each call in `_hf_hook`.
            if parameter.is_meta and hasattr(module, "_hf_hook"):
                raise ValueError(
                    f"{key}: accelerate has offloaded this weight to the CPU or the disk and loads it for "
                    "each call only; load the model without device_map, or prune its folder with prune_folder"
                )
            if parameter.is_meta:
                raise ValueError(
                    f"{key}: is on the meta device; prune a model that does not fit into memory with "
                    "prune_folder"
                )


def require_dense(layers: Iterable[Layer]) -> None:
    """Raise an error that names a layer whose weight no host can prune.

    The ValueError names a weight that is computed from other tensors. The TypeError names a quantised weight,
    or one of a dtype that hosts do not accept.
    """
    for layer in layers:
        require_stored(layer.name, layer.linear)
        parameter: Tensor = layer.linear.parameter
        if type(parameter.data) not in (Tensor, DTensor):
            raise TypeError(f"{layer.weight_name}: is stored as {type(parameter.data).__name__}; {_ADVICE}")
        if parameter.dtype not in _DTYPES:
            advice = "convert the model with model.float()" if parameter.dtype == torch.float64 else _ADVICE
            raise TypeError(
                f"{layer.weight_name}: is stored as {parameter.dtype}, and hosts prune float32, float16 and "
                f"bfloat16; {advice}"
            )
        # The names by which torch.ao and torchao store the object that rounds the weight for each call.
        for name in ("weight_fake_quant", "weight_fake_quantizer"):
            if getattr(layer.linear.module, name, None) is not None:
                raise ValueError(f"{layer.weight_name}: is rounded by {name} (QAT) for each call; {_ADVICE}")
