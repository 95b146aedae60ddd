"""Lists the parameters of a model, each with the linear layers whose weights it holds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pare_llm.layers.find_layers import adapter_modules, checkpoint_name, find_layers
from pare_llm.layers.linear_layer import LinearLayer, full_shape
from pare_llm.layers.unwrap import unwrap


@dataclass(frozen=True)
class ModelWeight:
    """One parameter of a model."""

    name: str
    """The name without the parts of wrappers, such as `model.decoder.layers.0.fc1.weight`."""
    parameter: nn.Parameter
    layers: dict[str, LinearLayer]
    """The layers whose weights are in the parameter, by the names that `prune_` gives them. Empty if the
    parameter is not the weight of a linear layer."""
    refusal: str | None
    """The reason why the parameter can never be masked, such as "is an embedding", or None."""

    @property
    def layer_names(self) -> list[str]:
        """The names by which patterns find the parameter or one of its layers."""
        return list(dict.fromkeys([*self.layers, self.name.removesuffix(".weight")]))


def model_weights(model: nn.Module) -> list[ModelWeight]:
    """List the parameters of `model`, each once. Raise a TypeError if FSDP1 has flattened them."""
    model = unwrap(model)
    layers: dict[int, dict[str, LinearLayer]] = {}
    for name, layer in find_layers(model).items():
        layers.setdefault(id(layer.parameter), {})[name] = layer
    adapters = {id(values) for module in adapter_modules(model) for values in module.parameters()}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights: list[ModelWeight] = []
    for name, parameter in model.named_parameters():
        of_parameter = layers.get(id(parameter), {})
        if id(parameter) in embeddings:
            refusal: str | None = "is an embedding, or is tied to one"
        elif id(parameter) in adapters:
            refusal = "belongs to an adapter"
        else:
            refusal = _refusal(parameter, is_linear=bool(of_parameter))
        weights.append(ModelWeight(checkpoint_name(name), parameter, of_parameter, refusal))
    return weights


def _refusal(parameter: Tensor, *, is_linear: bool) -> str | None:
    dimensions = len(full_shape(parameter))
    if dimensions != 2 and not is_linear:
        return f"has {dimensions} dimension{'s' * (dimensions != 1)}, and masks cover weights of 2 dimensions"
    if not parameter.is_floating_point():
        return f"is stored as {parameter.dtype}, and masks cover floating-point weights"
    return None


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
