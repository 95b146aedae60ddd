"""Compares a GGUF file with the checkpoint from which it was made, tensor by tensor, by the library gguf.

The program reads one request per line of standard input, which is a JSON object:

    {"file": FILE, "folder": FOLDER, "round": WHETHER}

The names of the tensors, the order of their rows and the values of packed weights are computed here, with no code of
Pare. The weights of all experts of a layer are one tensor, and the gate and the layer beside it are two, also if the
checkpoint has both in one. A quantised tensor must dequantise to exactly the weights of the checkpoint. With "round",
it must have the bytes that `gguf.quants.quantize` makes of them, as the table of tokens and the head must in any case.
The program answers each request with one line:

    {"tensors": {NAME: {"type": TYPE, "differences": the number of different weights, or of different bytes}},
     "missing": [NAMES of the checkpoint that have no tensor in the file],
     "fields": {KEY: VALUE} for the metadata without lists}

Without "folder", the file may be an importance matrix, and nothing is compared. The answer is then

    {"tensors": {NAME: [NUMBER, ...]}, "fields": {KEY: VALUE}}

If a request fails, the answer is instead {"error": the traceback of the exception}.
"""

import json
import pathlib
import re

import gguf
import numpy as np
import torch
from answer_requests import answer_requests
from safetensors import safe_open

# The architectures in which the two rows of a rotated pair are neighbours.
SORTED_BY_PAIRS = ("llama", "arcee", "granite", "granitehybrid", "granitemoe", "smollm3", "mistral3")
ROUNDED_TABLES = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")


def answer(request: dict) -> dict:
    reader = gguf.GGUFReader(request["file"])
    fields = {key: field.contents() for key, field in reader.fields.items()}
    if "folder" in request:
        return compare(request, reader, fields)
    return {"tensors": {tensor.name: tensor.data.flatten().tolist() for tensor in reader.tensors}, "fields": fields}


def compare(request: dict, reader: gguf.GGUFReader, fields: dict) -> dict:
    config = json.loads(pathlib.Path(request["folder"], "config.json").read_text())
    architecture = fields["general.architecture"]
    blocks = fields[f"{architecture}.block_count"]
    by_name = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(by_name[architecture], blocks)
    found = {tensor.name: tensor for tensor in reader.tensors}
    tensors, missing = {}, []
    for name, values in stack_experts(rename(read_checkpoint(request["folder"]), config)).items():
        # The map lacks the prefix of some of BLOOM's names.
        known = name.removeprefix("transformer.") if architecture == "bloom" else name
        place = names.get_name(known, try_suffixes=(".weight", ".bias")) or place_in_gemma4(known)
        if place not in found:
            missing.append(name)
            continue
        tensor, wanted = found[place], rearrange(values, layer_of(place), architecture, config)
        if is_stored_minus_1(name, config["model_type"]):
            wanted = wanted + np.float32(1)
        quantized = tensor.tensor_type.name.startswith("Q")
        if quantized and (request.get("round") or place in ROUNDED_TABLES):
            differences = np.count_nonzero(tensor.data != gguf.quants.quantize(wanted, tensor.tensor_type))
        else:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            if not quantized:
                wanted = gguf.quants.dequantize(gguf.quants.quantize(wanted, tensor.tensor_type), tensor.tensor_type)
            assert values.shape == wanted.shape, (name, values.shape, wanted.shape)
            differences = np.count_nonzero(values != wanted)
        tensors[place] = {"type": tensor.tensor_type.name, "differences": int(differences)}
    plain = {key: value for key, value in fields.items() if not isinstance(value, list)}
    return {"tensors": tensors, "missing": missing, "fields": plain}


def read_checkpoint(folder: str) -> dict[str, np.ndarray]:
    """Reads all tensors as float32. Packed weights become (code - 2^(bits - 1)) * scale."""
    stored = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            stored |= {name: file.get_tensor(name) for name in file.keys()}
    dense = {}
    for name, tensor in stored.items():
        stem, _, kind = name.rpartition(".")
        if kind == "weight_packed":
            dense[f"{stem}.weight"] = unpack(tensor, stored[f"{stem}.weight_scale"], stored[f"{stem}.weight_shape"])
        elif not kind.startswith("weight_"):
            dense[name] = tensor.to(torch.float32).numpy()
    return dense


def rename(tensors: dict[str, np.ndarray], config: dict) -> dict[str, np.ndarray]:
    """Gives tensors the names that the library knows. Of experts in one tensor, the first layer becomes two layers."""
    renamed, family = {}, config["model_type"]
    if family in ("granitemoe", "granitemoehybrid", "nemotron_h"):
        tensors = rename_hybrid(tensors, config)
    for name, values in tensors.items():
        expert = re.fullmatch(r"(.*\.experts\.)(gate_up_proj|down_proj)(_bias)?", name)
        if expert:
            mixture, layer, bias = expert.groups()
            rows = values if bias or family == "gemma4_text" else np.ascontiguousarray(values.swapaxes(1, 2))
            kind = "bias" if bias else "weight"
            if layer == "down_proj":
                renamed[f"{mixture}down_proj.{kind}"] = rows
                continue
            parts = (rows[:, ::2], rows[:, 1::2]) if family == "gpt_oss" else np.split(rows, 2, axis=1)
            for part, found in zip(("gate_proj", "up_proj"), parts, strict=True):
                renamed[f"{mixture}{part}.{kind}"] = np.ascontiguousarray(found)
        elif name.endswith(".A_log"):
            renamed[name] = -np.exp(values.astype(np.float64)).astype(np.float32)
        elif name.endswith((".conv1d.weight", ".conv.conv.weight")):
            renamed[name] = values[:, 0]
        elif name.endswith((".sinks", ".layer_scalar")):
            renamed[f"{name}.weight"] = values
        else:
            name = name.replace(".dt_bias", ".dt_proj.bias").replace("_correction_bias", "_correction.bias")
            name = name.replace(".expert_bias", ".expert_bias.bias")
            name = re.sub(r"^model\.(.*\.feed_forward\.experts\.)", r"\1", name)  # as in LFM2
            renamed[name] = values
    return renamed


def rename_hybrid(tensors: dict[str, np.ndarray], config: dict) -> dict[str, np.ndarray]:
    """Divides the layers of Granite that compute gate and up. Vectors of Mamba 2 get one row per head or group."""
    shared = "mlp.shared_expert" if config.get("num_local_experts") else "mlp"
    renamed = {}
    for name, values in tensors.items():
        place = name.replace("block_sparse_moe.input_linear", "mlp.experts.input_linear")
        place = place.replace("block_sparse_moe.output_linear", "mlp.experts.down_proj")
        place = place.replace("shared_mlp", shared).replace("output_linear", "down_proj")
        place = re.sub(r"^backbone(.*)\.mixer\.experts\.", r"model\1.mlp.experts.", place)
        if "input_linear" in place:
            for layer, part in zip(("gate_proj", "up_proj"), np.split(values, 2, axis=-2), strict=True):
                renamed[place.replace("input_linear", layer)] = np.ascontiguousarray(part)
        elif name.endswith((".A_log", ".D")):
            renamed[name] = values.reshape(-1, 1)
        elif name.endswith((".mamba.norm.weight", ".mixer.norm.weight")):
            renamed[name] = values.reshape(config.get("n_groups", config.get("mamba_n_groups")), -1)
        else:
            renamed[place] = values
    return renamed


def place_in_gemma4(name: str) -> str | None:
    """Returns the names of the tensors of Gemma 4 that the library does not map."""
    block, _, part = name.removeprefix("model.layers.").partition(".")
    place = {
        "router.scale": "ffn_gate_inp.scale",
        "router.per_expert_scale": "ffn_down_exps.scale",
        "experts.gate_proj.weight": "ffn_gate_exps.weight",
        "experts.up_proj.weight": "ffn_up_exps.weight",
    }.get(part)
    return f"blk.{block}.{place}" if place else None


def is_stored_minus_1(name: str, family: str) -> bool:
    """Whether the tensor is a norm to whose weights the model adds 1."""
    is_norm = name.endswith("norm.weight") and ".linear_attn." not in name and family != "gemma4_text"
    return is_norm and family.startswith(("gemma", "qwen3_next", "qwen3_5"))


def layer_of(place: str) -> str:
    return place.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]


def stack_experts(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Puts the tensors `experts.0.NAME`, `experts.1.NAME` and so on into one tensor `experts.NAME`."""
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for name, values in tensors.items():
        number = re.search(r"\bexperts\.(\d+)\.", name)
        stack = stacks.setdefault(re.sub(r"\bexperts\.\d+\.", "experts.", name), {})
        stack[int(number[1]) if number else -1] = values
    return {
        name: stack[-1] if -1 in stack else np.stack([stack[number] for number in sorted(stack)])
        for name, stack in stacks.items()
    }


def unpack(packed: torch.Tensor, scale: torch.Tensor, shape: torch.Tensor) -> np.ndarray:
    rows, cols = shape.tolist()
    bits = 32 * packed.shape[1] // cols
    words = packed.numpy().view(np.uint32)
    codes = np.stack([words >> (bits * i) & (2**bits - 1) for i in range(32 // bits)], axis=-1).reshape(rows, cols)
    groups = scale.shape[1]
    scales = np.repeat(scale.to(torch.float32).numpy(), cols // groups, axis=1)
    return ((codes.astype(np.float32) - 2 ** (bits - 1)) * scales).astype(np.float32)


def rearrange(values: np.ndarray, layer: str, architecture: str, config: dict) -> np.ndarray:
    heads = config.get("num_attention_heads", config.get("n_head"))
    rest = values.shape[1:]
    if architecture in SORTED_BY_PAIRS and layer in ("attn_q", "attn_k"):
        count = heads if layer == "attn_q" else config["num_key_value_heads"]
        return values.reshape(count, 2, -1, *rest).swapaxes(1, 2).reshape(values.shape)
    if architecture in ("bloom", "gptneox") and layer == "attn_qkv":
        return values.reshape(heads, 3, -1, *rest).swapaxes(0, 1).reshape(values.shape)
    if architecture == "falcon" and layer == "attn_qkv":
        groups = values.reshape(count_key_heads(config), -1, config["hidden_size"] // heads, *rest)
        parts = (groups[:, :-2], groups[:, -2:-1], groups[:, -1:])
        return np.concatenate([part.reshape(-1, *rest) for part in parts])
    if architecture.startswith("qwen35") and layer in ("attn_qkv", "ssm_conv1d"):
        keys = 2 * config["linear_num_key_heads"] * config["linear_key_head_dim"]
        return np.concatenate([values[:keys], tile_heads(values[keys:], config)])
    if architecture.startswith("qwen35") and layer in ("attn_gate", "ssm_beta", "ssm_alpha", "ssm_a", "ssm_dt"):
        return tile_heads(values, config)
    if architecture.startswith("qwen35") and layer == "ssm_out":
        return np.ascontiguousarray(tile_heads(values.T, config).T)
    if architecture == "gpt2" and layer in ("attn_qkv", "attn_output", "ffn_up", "ffn_down") and values.ndim == 2:
        return values.T.copy()
    return values


def count_key_heads(config: dict) -> int:
    """Counts the key heads of Falcon."""
    if config["new_decoder_architecture"]:
        return config["num_kv_heads"]
    return 1 if config["multi_query"] else config["num_attention_heads"]


def tile_heads(values: np.ndarray, config: dict) -> np.ndarray:
    """Sorts the rows of value heads by the number of the head among those that share a key head."""
    shape = (config["linear_num_key_heads"], -1, values.shape[0] // config["linear_num_value_heads"], *values.shape[1:])
    return values.reshape(shape).swapaxes(0, 1).reshape(values.shape)


if __name__ == "__main__":
    answer_requests(answer)
