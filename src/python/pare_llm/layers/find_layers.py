"""Finds the linear layers of a model. All of the package chooses among these layers."""

import re
from collections.abc import Container, Iterable, Iterator

from torch import Tensor, nn

from pare_llm.arguments import require_texts
from pare_llm.layers.experts import checkpoint_place, expert_layers, is_experts, is_router
from pare_llm.layers.linear_layer import ATTENTION_ROLES, LinearLayer, full_shape

# Parts of a name that wrappers add: torch.compile, activation checkpointing, and adapters of peft.
_WRAPPER_PARTS = {"_orig_mod", "_checkpoint_wrapped_module", "base_layer", "original_module"}


def find_layers(model: nn.Module) -> dict[str, LinearLayer]:
    """Return the linear layers of a model by the names that they have in checkpoints, in the model's order.

    - A module `nn.Linear`, or transformers' `Conv1D`, has the name of the module in `model.named_modules()`,
      without the parts that wrappers add, such as `base_layer`.
    - The projections of an `nn.MultiheadAttention` named A are A.q_proj, A.k_proj, A.v_proj and A.out_proj,
      whether the module stores their weights jointly as `in_proj_weight` or one by one.
    - Experts whose weights are stored as one tensor of three dimensions, as in transformers 5, have one layer
      per expert and role, such as `mlp.experts.3.gate_proj`, or `block_sparse_moe.experts.3.w1` in Mixtral.

    The layers of adapters are not found, nor are the routers of experts, which stay dense. A module that is
    registered under several names appears under each of them, with the same `LinearLayer`.
    """
    layers: dict[str, LinearLayer] = {}
    by_module: dict[nn.Module, dict[str, LinearLayer]] = {}
    excluded = set(_excluded_modules(model))
    for name, module in model.named_modules(remove_duplicate=False):
        if module in excluded:
            continue
        if module not in by_module:
            by_module[module] = dict(_layers_of(module))
        place = checkpoint_place(module, checkpoint_name(name))
        for suffix, layer in by_module[module].items():
            layers[".".join(filter(None, (place, suffix)))] = layer
    return layers


def checkpoint_name(name: str) -> str:
    """Return the name of a module or parameter without the parts that wrappers add."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_PARTS)


def adapter_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that peft adds to a model, without the layers that its adapters wrap."""
    for module in model.modules():
        # An adapter wraps the layer `base_layer`, and `modules_to_save` has copies of `original_module`.
        for key in ("base_layer", "original_module"):
            if isinstance(base := module._modules.get(key), nn.Module):
                own = set(base.modules())
                yield from (part for part in module.modules() if part not in own and part is not module)


def routers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the routers of mixtures of experts."""
    for parent in model.modules():
        if "experts" in parent._modules:
            yield from (child for child in parent.children() if is_router(child, parent))


def embedding_weights(model: nn.Module) -> set[int]:
    """Return the ids of the weights of the token embeddings and of the output head."""
    modules: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    get_head = getattr(model, "get_output_embeddings", None)
    if callable(get_head) and (head := get_head()) is not None:
        modules.append(getattr(head, "base_layer", head))
    return {id(weight) for module in modules if isinstance(weight := getattr(module, "weight", None), Tensor)}


def other_matrices(
    model: nn.Module, layers: Iterable[LinearLayer], embeddings: Container[int]
) -> dict[str, nn.Parameter]:
    """Return the matrices besides `layers`, embeddings, biases, adapters and routers, by name."""
    known = {id(layer.parameter) for layer in layers}
    for module in (*adapter_modules(model), *routers(model)):
        known |= {id(parameter) for parameter in module.parameters()}
    return {
        checkpoint_name(name): parameter
        for name, parameter in model.named_parameters()
        if len(full_shape(parameter)) > 1
        and id(parameter) not in known
        and id(parameter) not in embeddings
        and not name.endswith("bias")
    }


def _excluded_modules(model: nn.Module) -> Iterator[nn.Module]:
    yield from adapter_modules(model)
    yield from routers(model)
    # The output projection of attention is one of the layers of the attention.
    yield from (module.out_proj for module in model.modules() if isinstance(module, nn.MultiheadAttention))


def _layers_of(module: nn.Module) -> Iterator[tuple[str, LinearLayer]]:
    """Yield the layers of one module, each with what its name adds to the name of the module."""
    if isinstance(module, nn.MultiheadAttention):
        for role in ATTENTION_ROLES:
            yield role, LinearLayer(module, role)
    elif isinstance(module, nn.Linear):
        yield "", LinearLayer(module, "linear")
    elif any(parent.__name__ == "Conv1D" for parent in type(module).__mro__):
        # The class of transformers, recognised by its name so that transformers is not imported.
        yield "", LinearLayer(module, "conv1d")
    elif is_experts(module):
        yield from expert_layers(module)


def choose_layers(names: Iterable[str], patterns: Iterable[str] | str, option: str = "layers") -> list[str]:
    """Return the names that match at least one of the patterns, in their own order.

    A pattern that is the whole name of a layer means this layer only. Otherwise there are three forms:

    - plain text matches the end of a name in whole parts, such as `fc2` or `self_attn.q_proj`;
    - with wildcards, `*` stands for any characters and `?` for one character;
    - `/…/` is a regular expression.

    Raises:
        TypeError, ValueError: a pattern is not a string, is malformed or matches no layer. The message names
            `option`.
    """
    require_texts(option, patterns)
    names = list(names)
    patterns = [patterns] if isinstance(patterns, str) else patterns
    matches: set[str] = set()
    for pattern in patterns:
        is_name = pattern in names
        found = {pattern} if is_name else {name for name in names if _matches(pattern, name, option)}
        if not found:
            example = f"an example of a layer is {names[0]!r}" if names else "the model has no linear layer"
            raise ValueError(f"{option}: {pattern!r} matches no layer; {example}")
        matches |= found
    return [name for name in names if name in matches]


def _matches(pattern: str, name: str, option: str) -> bool:
    """Tell whether the name of a layer, or of its weight, matches a pattern."""
    if pattern == "":
        raise ValueError(f"{option}: a pattern is empty")
    weight = f"{name}.weight"
    if len(pattern) > 2 and pattern.startswith("/") and pattern.endswith("/"):
        try:
            return re.search(pattern[1:-1], weight) is not None
        except re.error as error:
            raise ValueError(f"{option}: {pattern!r} is not a regular expression: {error}") from error
    body = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    start = "" if "*" in pattern or "?" in pattern else r"(.*\.)?"
    return any(re.fullmatch(start + body, text) for text in (weight, name))
