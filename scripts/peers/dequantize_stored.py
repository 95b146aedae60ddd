"""Dequantises the weights of a checkpoint by the functions of transformers and of compressed-tensors.

The program reads one request per line of standard input, which is a JSON object:

    {"folder": FOLDER with config.json and model.safetensors}

It answers each request with one line, which is a JSON object as well:

    {NAME: {"dtype": the dtype of the dequantised weight, "shape": its shape, "bytes": its bytes in hexadecimal}}

The weights of the formats fp8, fbgemm_fp8 and mxfp4, and the weights whose scales are in F32, get the dtype of config.json.
"""

import json
import pathlib

import torch
from answer_requests import answer_requests
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

Tensors = dict[str, torch.Tensor]


def dequantize(request: dict) -> dict:
    folder = pathlib.Path(request["folder"])
    config = json.loads((folder / "config.json").read_text())
    tensors, description = load_file(folder / "model.safetensors"), config["quantization_config"]
    dtype = getattr(torch, config.get("dtype", "bfloat16"))
    method = description["quant_method"]
    if method == "compressed-tensors":
        weights = compressed(tensors, description)
    elif method == "mxfp4":
        weights = mxfp4(tensors)
    else:
        weights = fp8(tensors, dtype)
    return {
        name: {
            "dtype": str(weight.dtype).removeprefix("torch."),
            "shape": list(weight.shape),
            "bytes": weight.contiguous().view(torch.uint8).numpy().tobytes().hex(),
        }
        for name, weight in weights.items()
    }


def fp8(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    weights = {}
    for name, weight in tensors.items():
        scale = tensors.get(f"{name}_scale_inv", tensors.get(f"{name}_scale"))
        if scale is not None:
            weights[name] = Fp8Dequantize(None)._dequantize_one(weight, scale, output_dtype=dtype)
    return weights


def mxfp4(tensors: Tensors) -> Tensors:
    stems = [name.removesuffix("_blocks") for name in tensors if name.endswith("_blocks")]
    return {stem: convert_moe_packed_tensors(tensors[f"{stem}_blocks"], tensors[f"{stem}_scales"]) for stem in stems}


def compressed(tensors: Tensors, description: dict) -> Tensors:
    scheme = QuantizationScheme.model_validate(description["config_groups"]["group_0"])
    compressor = BaseCompressor.get_value_from_registry(description["format"])
    stems = [name.removesuffix(".weight_scale") for name in tensors if name.endswith(".weight_scale")]
    weights = {}
    for stem in stems:
        state = {name.removeprefix(f"{stem}."): tensor for name, tensor in tensors.items() if name.startswith(f"{stem}.weight")}
        weights[f"{stem}.weight"] = compressor.decompress(state, scheme)["weight"]
    return weights


if __name__ == "__main__":
    answer_requests(dequantize)
