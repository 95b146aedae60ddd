"""
Records the inputs of the linear layers in the blocks of a transformers model, under the names that the layers
have in a checkpoint.
"""

import contextlib
import re

import torch
from transformers.pytorch_utils import Conv1D

# Layers that share their input with an earlier layer, or are not pruned.
SHARING = {
    *("k_proj", "v_proj", "up_proj", "w3", "kv_a_proj_with_mqa", "shared_expert_gate", "router"),
    "proj",  # of the router of Gemma 4, which is not pruned
    *("in_proj_ba", "in_proj_z", "in_proj_b", "in_proj_a"),  # of linear attention
}

# For each class of experts, the names that two layers of an expert have in a checkpoint: the first of the
# layers that share the expert's input, and the last layer.
EXPERT_LAYERS = {
    "MixtralExperts": ("w1", "w2"),
    "MiniMaxM2Experts": ("w1", "w2"),
    "Lfm2MoeExperts": ("w1", "w2"),
    "GptOssExperts": ("gate_up_proj", "down_proj"),
    "Llama4TextExperts": ("gate_up_proj", "down_proj"),
    "GraniteMoeExperts": ("input_linear", "output_linear"),
    "GraniteMoeHybridExperts": ("input_linear", "output_linear"),
    "NemotronHExperts": ("up_proj", "down_proj"),
}
DEFAULT_EXPERT_LAYERS = ("gate_proj", "down_proj")


@contextlib.contextmanager
def observe_inputs(model):
    """
    Yields a dictionary. While the context is open, every forward pass adds to it the inputs of each linear
    layer, (tokens, features), under the name of the layer in the checkpoint. Of the layers that share one
    input, only the first is added.
    """
    inputs, handles = {}, []

    def add(name, x):
        if type(model).__name__ == "NemotronHForCausalLM":
            name = name.replace("model.", "backbone.", 1)
        x = x.reshape(-1, x.shape[-1]).clone()
        inputs[name] = torch.cat([inputs[name], x]) if name in inputs else x

    def adder(name):
        return lambda _, args: add(name, args[0])

    modules = dict(model.named_modules())
    for name, module in modules.items():
        if not re.search(r"\.\d+\.", name):  # not in a block
            continue
        if isinstance(module, (torch.nn.Linear, Conv1D)):
            parent, _, last = name.rpartition(".")
            has_no_gate = last == "up_proj" and f"{parent}.gate_proj" not in modules
            if last not in SHARING or has_no_gate:
                handles.append(module.register_forward_pre_hook(adder(name)))
        elif type(module).__name__.endswith("Experts"):
            handles.append(module.register_forward_pre_hook(expert_adder(name, add)))
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def expert_adder(name, add):
    """
    Returns a hook that computes the inputs of each expert's layers, because transformers has one module for
    all experts of a block.
    """

    def hook(module, args):
        shared, last = EXPERT_LAYERS.get(type(module).__name__, DEFAULT_EXPERT_LAYERS)
        prefix = name.replace(".mlp.", ".block_sparse_moe.") if shared == "w1" else name
        for expert in range(module.num_experts):
            x = inputs_of(module, args, expert)
            add(f"{prefix}.{expert}.{shared}", x)
            add(f"{prefix}.{expert}.{last}", gated(module, expert, x))

    return hook


def inputs_of(module, args, expert):
    """Returns the inputs of the tokens that are routed to an expert."""
    if len(args) == 1:  # LLaMA 4 gives every token to every expert, times 0 for those to which it is not routed
        x = args[0].view(module.num_experts, -1, args[0].shape[-1])[expert]
        return x[x.any(dim=-1)]
    states, chosen, _ = args
    return states[(chosen == expert).any(dim=-1)]


def gated(module, expert, x):
    """Returns the inputs of the last layer of an expert, whose inputs are x."""
    if type(module).__name__ == "NemotronHExperts":
        return module.act_fn(x @ module.up_proj[expert].T)
    if type(module).__name__ == "Llama4TextExperts":
        gate, up = (x @ module.gate_up_proj[expert]).chunk(2, dim=-1)
        return module.act_fn(gate) * up
    weight = module.gate_up_proj[expert]
    outputs = x @ (weight if module.is_transposed else weight.T)
    if module.has_bias:
        outputs = outputs + module.gate_up_proj_bias[expert]
    return module._apply_gate(outputs)
