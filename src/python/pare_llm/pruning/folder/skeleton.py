"""A transformers model whose parameters are on the meta device, so that they take no memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


def make_skeleton(folder: Path, dtype: torch.dtype | None, device: torch.device) -> PreTrainedModel:
    """Return the causal language model of a checkpoint folder without its weights.

    Buffers that are computed from the configuration, such as the frequencies of rotary embeddings, are on
    `device`. Code in the folder is never run.

    Args:
        folder: the folder with `config.json`.
        dtype: the dtype of the parameters. By default that of the configuration.
        device: the device of the forward passes.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    options = {} if dtype is None else {"dtype": dtype}
    with _parameters_on_meta():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, **options)  # type: ignore[no-untyped-call]
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(device)
    return model


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Move each parameter to the meta device as soon as a module registers it."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
