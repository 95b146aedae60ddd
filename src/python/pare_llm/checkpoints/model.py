"""Makes a transformers model of a checkpoint."""

import os
from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from pare_llm.checkpoints.layout import LAYOUT_KEYS
from pare_llm.checkpoints.tensors import load_state_dict


def from_pretrained(folder: str | os.PathLike[str], **options: Any) -> PreTrainedModel:
    """Load a dense or quantised checkpoint as a dense causal language model of transformers.

    Quantised weights become dense parameters, and the config of the model does not describe them
    any more. Therefore the model can be trained further and saved with `save_pretrained`. Tied weights are
    tied as the config says. `options` are passed to `from_pretrained` of the model's class, for example
    `device_map`, or `dtype`, whose default is the dtype in config.json. Code in the folder is never run.

    Raises the errors of `load`, and ValueError if transformers has no class for the model, or if the
    checkpoint lacks a tensor of the model or has it in another shape.
    """
    path = Path(folder)
    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{path}: transformers has no causal language model of the type {config.model_type}")
    for key in LAYOUT_KEYS:
        if hasattr(config, key):
            delattr(config, key)
    if "generation_config" not in options and (path / GENERATION_CONFIG_NAME).is_file():
        options["generation_config"] = GenerationConfig.from_pretrained(path, local_files_only=True)
    # Tensors that do not fit are reported below, because the error of transformers does not name them.
    options |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    state_dict = load_state_dict(path)
    model, loading = model_class.from_pretrained(None, config=config, state_dict=state_dict, **options)
    for name, stored, expected in loading["mismatched_keys"]:
        raise ValueError(f"{path}: {name} must have the shape {list(expected)}, not {list(stored)}")
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(f"{path}: lacks {len(missing)} tensors of the model; the first one is {missing[0]}")
    result: PreTrainedModel = model
    return result
