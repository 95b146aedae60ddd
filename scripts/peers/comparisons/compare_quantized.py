"""Loads a quantised checkpoint with transformers and compressed-tensors, and compares it with a dense checkpoint.

The dense checkpoint holds the values that the quantised weights stand for. The program reads one request per line of standard
input, which is a JSON object:

    {"quantized": FOLDER, "dense": FOLDER, "tokens": [[id, ...], ...]}

It answers each request with one line, which is a JSON object as well:

    {"max_logit_difference": the largest absolute difference of the logits of the two models, computed in f32,
     "largest_logit": the largest absolute logit of the dense model,
     "layers": {NAME: {"equal": whether the weight has the same bits in both models, except for the sign of 0,
                       "zeros": the number of entries of the quantised weight that are 0,
                       "repacked": whether compressed-tensors packs the weight to the tensors of the checkpoint}},
     "linear": the number of linear layers of the model, "loads_plainly": whether from_pretrained without options loads the
     quantised checkpoint to a model with the same logits, "versions": {LIBRARY: VERSION},
     "loading": {KIND: the names of parameters that transformers reports under this kind, such as missing_keys, for the
                       quantised checkpoint and not for the dense one}}

If the comparison fails, the answer is instead:

    {"error": the traceback of the exception}

Usage:

    python compare_quantized.py
"""

import json
import pathlib

import compressed_tensors
import torch
import transformers
from answer_requests import answer_requests
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import unpack_from_int32
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file


@torch.inference_mode()
def compare(request: dict) -> dict:
    quantized_folder, tokens = request["quantized"], torch.tensor(request["tokens"])
    dense, dense_loading = load(request["dense"])
    config = json.loads((pathlib.Path(quantized_folder) / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    schemes = [QuantizationScheme.model_validate(group) for group in groups]
    plain = load_plainly(quantized_folder)
    if plain is not None:
        quantized, loading = plain
        quantized(tokens[:1, :2])  # The first forward pass replaces the packed weights by dense ones.
    else:
        quantized, loading = load(quantized_folder, quantization_config=transformers.CompressedTensorsConfig(dequantize=True))
    stored = read_tensors(quantized_folder)
    stems = [name.removesuffix(".weight_packed") for name in stored if name.endswith(".weight_packed")]
    modules, dense_modules = dict(quantized.named_modules()), dict(dense.named_modules())
    layers = {}
    for stem in stems:
        # If a checkpoint was saved without a head, its names lack the prefix that the model with a head has.
        name = stem if stem in modules else f"{quantized.base_model_prefix}.{stem}"
        module = modules[name]
        # A negative scale makes -0 of the code of 0, and adding 0 makes 0 of -0.
        weight, expected = module.weight + 0, dense_modules[name].weight
        scheme = schemes[0] if len(schemes) == 1 else module.quantization_scheme
        layers[f"{stem}.weight"] = {
            "equal": weight.dtype == expected.dtype and torch.equal(as_bits(weight), as_bits(expected)),
            "zeros": int((as_bits(weight) == 0).sum()),
            "repacked": is_repacked(weight, stem, stored, scheme),
        }
    # The method `float` of transformers models refuses quantised models, so the method of the base class is called.
    logits = torch.nn.Module.float(quantized)(tokens).logits
    expected = torch.nn.Module.float(dense)(tokens).logits
    return {
        "max_logit_difference": float((logits - expected).abs().max()),
        "largest_logit": float(expected.abs().max()),
        "layers": layers,
        "loads_plainly": plain is not None,
        "loading": {kind: sorted(set(names) - set(dense_loading[kind])) for kind, names in loading.items()},
        "linear": sum(isinstance(module, torch.nn.Linear) for module in modules.values()),
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "compressed-tensors": compressed_tensors.__version__,
        },
    }


def load(folder: str, **options: object) -> tuple[transformers.PreTrainedModel, dict]:
    """Loads a checkpoint. Returns the model, and what transformers reports about the names of its tensors."""
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", output_loading_info=True, **options
    )
    return model.eval(), loading


def load_plainly(folder: str) -> tuple[transformers.PreTrainedModel, dict] | None:
    """Loads a checkpoint without options. Returns None if transformers finds tensors whose shapes it does not expect."""
    try:
        return load(folder)
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        return None


def is_repacked(
    weight: torch.Tensor, stem: str, stored: dict[str, torch.Tensor], scheme: QuantizationScheme
) -> bool:
    """Packs a dense weight with the compressor of compressed-tensors. Returns whether the result equals the stored tensors."""
    scale, zero_point = stored[f"{stem}.weight_scale"], stored.get(f"{stem}.weight_zero_point")
    if zero_point is not None:
        zero_point = unpack_from_int32(zero_point, scheme.weights.num_bits, scale.shape, packed_dim=0)
    state = {"weight": weight.data, "weight_scale": scale, "weight_zero_point": zero_point}
    packed = BaseCompressor.get_value_from_registry("pack-quantized").compress(state, scheme)
    expected = {name.removeprefix(f"{stem}."): tensor for name, tensor in stored.items() if name.startswith(f"{stem}.weight")}
    return packed.keys() == expected.keys() and all(
        packed[part].dtype == tensor.dtype and torch.equal(packed[part], tensor) for part, tensor in expected.items()
    )


def as_bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view({2: torch.int16, 4: torch.int32}[tensor.element_size()])


def read_tensors(folder: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    answer_requests(compare)
