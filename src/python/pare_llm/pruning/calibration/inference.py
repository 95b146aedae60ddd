"""Runs a model for calibration: without dropout, gradients and a cache of keys and values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Switch the model to evaluation, and restore its state when the context ends."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    configs = _configs_with_cache(model)
    for config, _ in configs:
        config.use_cache = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in training.items():
            module.training = was_training
        for config, use_cache in configs:
            config.use_cache = use_cache


def _configs_with_cache(model: nn.Module) -> list[tuple[Any, Any]]:
    """Return the configurations in the model that say whether a cache is used, and what they say."""
    configs = {
        id(config): config for module in model.modules() if (config := getattr(module, "config", None))
    }
    return [(config, config.use_cache) for config in configs.values() if hasattr(config, "use_cache")]
