"""LoRA that keeps the zeros of a pruned model, in training and in the merge."""

from collections.abc import Sequence
from os import PathLike
from typing import cast

from peft import PeftModel
from peft.tuners.lora.layer import Conv1d as LoraConv1d
from peft.tuners.lora.layer import Conv2d as LoraConv2d
from peft.tuners.lora.layer import Conv3d as LoraConv3d
from peft.tuners.lora.layer import Embedding as LoraEmbedding
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from pare_llm.finetuning.choose_weights import choose_weights
from pare_llm.finetuning.masked_adapter import MaskedAdapter
from pare_llm.finetuning.model_weights import is_sharded

_NEVER_MASKED = (LoraEmbedding, LoraConv1d, LoraConv2d, LoraConv3d)


def mask_lora_(
    model: nn.Module,
    *,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
) -> list[str]:
    """Mask the LoRA adapters of a pruned model in place.

    A masked adapter computes x·(mask ⊙ (B·A)·scaling)ᵀ instead of x·(B·A)ᵀ·scaling, so training uses the
    weights that `merge_keep_zeros` leaves in the model. The adapter keeps the parameters and the files of
    LoRA. The forward pass of each layer also computes the masked B·A, a matrix of size [out, in]. It is not
    stored, but computed again in backward.

    The function masks the adapters that the model has now. Call it again after `add_adapter`, and after a
    saved adapter was loaded. Dropout applies to the input of the adapter, as in LoRA.

    Args:
        model: A model with LoRA layers of peft, such as a PeftModel.
        layers: Patterns of names, see `keep_zeros`.
        folder: A folder that `pare prune` wrote. Its pare.json names the pruned weights.

    Without `layers` and `folder`, the adapters of all linear layers whose weight has a zero are masked.

    Returns:
        The names of the weights whose adapters are masked.

    Raises:
        ValueError: If no adapter is masked, or if an adapter is merged or is not plain LoRA, such as DoRA.
        TypeError: If an adapted layer is not nn.Linear or Conv1D, for example because it is quantised.
    """
    weights = choose_weights(model, layers=layers, folder=folder)
    chosen = {id(weight.parameter): weight.name for weight in weights}
    masked: list[str] = []
    for path, module in model.named_modules():
        if not isinstance(module, LoraLayer) or isinstance(module, _NEVER_MASKED):
            continue
        base = module.get_base_layer()
        # `fully_shard` gives a module a new class, and some quantised layers of peft are subclasses.
        kind = next(parent for parent in type(module).__mro__ if parent.__module__.startswith("peft."))
        if kind is not LoraLinear:
            if (layers is None and folder is None) or any(id(p) in chosen for p in base.parameters()):
                raise TypeError(
                    f"{path}: masked LoRA covers nn.Linear and Conv1D, not peft's {kind.__name__}"
                )
            continue
        assert isinstance(module, LoraLinear)
        weight = cast(Tensor, base.weight)
        name = chosen.get(id(weight))
        if name is not None and (is_sharded(weight) or bool((weight == 0).any())):
            _mask_adapters(name, module, weight)
            masked.append(name)
    if not masked:
        raise ValueError("mask_lora_: the model has no LoRA adapter on a weight that has zeros")
    return masked


def merge_keep_zeros(
    peft_model: PeftModel,
    *,
    layers: str | Sequence[str] | None = None,
    folder: str | PathLike[str] | None = None,
    adapters: list[str] | None = None,
) -> nn.Module:
    """Merge the LoRA adapters of a pruned model without filling its zeros.

    Each weight becomes W + mask ⊙ (B·A)·scaling, where the mask is `W != 0`, so its zeros stay exactly
    zero. If `mask_lora_` was called before training, the merged model computes what the adapted model
    computed, up to rounding. Otherwise this function masks the adapters now, which changes what they
    compute.

    Args:
        peft_model: A PeftModel with LoRA adapters. It cannot be used any more afterwards.
        layers: Patterns of names, see `keep_zeros`.
        folder: A folder that `pare prune` wrote. Its pare.json names the pruned weights.
        adapters: The names of the adapters to merge. The default is the active ones.

    Returns:
        The base model.

    Raises:
        ValueError: As `mask_lora_` does.
        TypeError: As `mask_lora_` does.
    """
    mask_lora_(peft_model, layers=layers, folder=folder)
    merged: nn.Module = peft_model.merge_and_unload(adapter_names=adapters)
    return merged


def _mask_adapters(name: str, module: LoraLinear, weight: Tensor) -> None:
    """Mask all adapters of one layer, or raise because one of them cannot be masked."""
    if module.merged:
        adapters = ", ".join(module.merged_adapters)
        raise ValueError(
            f"{name}: the adapter {adapters} is merged and has filled the zeros; unmerge it first"
        )
    if hasattr(weight, "ds_id"):
        raise TypeError(f"{name}: is partitioned by DeepSpeed ZeRO-3, but masked LoRA needs whole weights")
    for adapter, variant in module.lora_variant.items():
        if not isinstance(variant, MaskedAdapter):
            kind = "DoRA" if module.use_dora.get(adapter) else type(variant).__name__
            raise ValueError(f"{name}: the adapter {adapter} uses {kind}, but only plain LoRA can be masked")
    for adapter in module.lora_A:
        module.lora_variant[adapter] = MaskedAdapter()
