"""The answer of a host about a block, and the checks that it is the requested block."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

from pare_llm.client.answers import Report, parse_report, printable
from pare_llm.client.check_answer import check_values, magnitude_bits, receive_layer, require_layout
from pare_llm.client.layer import LayerToUpload, PrunedLayer, QuantizedWeight
from pare_llm.client.layer_file import decode
from pare_llm.client.tensor_library import TensorLibrary
from pare_llm.client.wire_tensor import Array, WireTensor, dtype_of

if TYPE_CHECKING:
    from pare_llm.client.layer_query import LayerQuery

# The prefix of tensors that a reconstruction has changed.
_TRAINED = "trained."

PROBE_ROWS = 32
"""The number of random combinations of the inputs that a host sends with each layer."""

# The parts of the answer about one layer. Their names follow the name of the weight.
_PARTS = ("mask", "codes", "scales", "zeros")


@dataclass(frozen=True)
class SolvedBlockLayer(Generic[Array]):
    """A layer of a pruned block. Only an expert has `tokens`.

    Attributes:
        weight: (out, in), in the dtype of the request.
        mask: (out, in) bool, True where the weight was not pruned.
        quantized: the codes and the grids of the weight, if its parameters have `bits`.
        report: the report of the host.
        tokens: the number of calibration tokens that reached an expert.
    """

    weight: Array
    mask: Array
    quantized: QuantizedWeight[Array] | None
    report: Report
    tokens: int | None


@dataclass(frozen=True)
class SolvedBlock(Generic[Array]):
    """A block that a host has pruned, or whose statistics it has stored.

    Attributes:
        layers: the pruned layers, by the names of their weights in the checkpoint.
        trained: the tensors that a reconstruction has changed.
        error: the error of the output of the block on the held-out windows, if there are any. It is NaN if it
            is not finite.
        sums: the numbers of fitted and of held-out tokens in the stored statistics of each layer.
    """

    layers: Mapping[str, SolvedBlockLayer[Array]]
    trained: Mapping[str, Array]
    error: float | None
    sums: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class BlockRequest(Generic[Array]):
    """The request of an answer, as `BlockHost.run` describes it."""

    tensors: Mapping[str, Array]
    layers: Mapping[str, LayerQuery]
    is_solved: bool
    is_reconstructed: bool

    @property
    def is_rounded_last(self) -> bool:
        """Whether the layers are solved again after the training, and compared with the trained weights."""
        return self.is_reconstructed and any(query.get("bits") is not None for query in self.layers.values())


def decode_block(
    answer: bytearray, library: TensorLibrary[Array], request: BlockRequest[Array]
) -> SolvedBlock[Array]:
    """Decode an answer, and check each layer and each trained tensor. A ValueError names the first fault."""
    try:
        return _decode(answer, library, request)
    except ValueError as error:
        raise ValueError(f"answer of /v1/blocks: {error}") from None
    except (AttributeError, KeyError, RecursionError, TypeError) as cause:
        raise ValueError("answer of /v1/blocks: it is not a pruned block") from cause


def _decode(
    answer: bytearray, library: TensorLibrary[Array], request: BlockRequest[Array]
) -> SolvedBlock[Array]:
    tensors, metadata = decode(answer)
    block = json.loads(metadata["block"])
    reports = {layer["name"]: layer for layer in block["layers"]}
    sums = {
        count["name"]: (int(count["tokens"]), int(count["validation_tokens"]))
        for count in block.get("sums") or []
    }
    answered = reports if request.is_solved else sums
    if len(reports) < len(block["layers"]):
        raise ValueError("a layer occurs twice")
    for name in answered.keys() ^ request.layers.keys():
        is_missing = name in request.layers
        raise ValueError(
            f"the layer {printable(name, 200)} {'is missing' if is_missing else 'was not requested'}"
        )
    layers: dict[str, SolvedBlockLayer[Array]] = {}
    sent: dict[str, LayerToUpload[Array]] = {}
    for name, layer in reports.items():
        with_name = {f"{name}.{part}": part for part in _PARTS} | {name: "weight"}
        parts = {part: tensors[full] for full, part in with_name.items() if full in tensors}
        try:
            report = parse_report(json.dumps(layer["report"]))
            sent[name] = _sent_layer(name, parts["weight"], tensors.get(f"{name}.probe"), library, request)
            pruned = receive_layer(parts, report, library, sent[name], is_calibrated_by_host=True)
        except ValueError as fault:
            raise ValueError(f"the layer {name}: {fault}") from None
        tokens = layer.get("tokens")
        layers[name] = SolvedBlockLayer(pruned.weight, pruned.mask, pruned.quantized, report, tokens)
    error: float | None = None
    if "error" in block:  # JSON has null for a number that is not finite
        error = math.nan if block["error"] is None else float(block["error"])
    trained = {
        name.removeprefix(_TRAINED): _receive_trained(name, tensor, library, request, layers, sent)
        for name, tensor in tensors.items()
        if name.startswith(_TRAINED)
    }
    return SolvedBlock(layers, trained, error, sums)


def _sent_layer(
    name: str,
    answered: WireTensor,
    probe: WireTensor | None,
    library: TensorLibrary[Array],
    request: BlockRequest[Array],
) -> LayerToUpload[Array]:
    """Return the layer as it was sent, with the random combinations of its inputs that the host has sent."""
    weight = _oriented(request.tensors[name], answered, library)
    # The host has already weighted the inputs.
    query: Any = {key: value for key, value in request.layers[name].items() if key != "token_weights"}
    if request.is_rounded_last:
        # The layer was pruned before the training, so that its last solve has the zeros as a mask.
        return LayerToUpload(name, weight, mask=abs(weight) >= 0, parameters=query)
    if probe is None:
        raise ValueError('tensor "probe" is missing')
    require_layout("probe", probe, "F32", (PROBE_ROWS, weight.shape[1]))
    return LayerToUpload(name, weight, inputs=library.make(probe), parameters=query)


def _oriented(stored: Array, answered: WireTensor, library: TensorLibrary[Array]) -> Array:
    """Return a weight as (out, in). Some models, such as GPT-2, store it as (in, out).

    A square weight is returned in the orientation that is nearer to the answer.
    """
    shape, turned = tuple(stored.shape), stored.T
    if shape != answered.shape or shape[0] != shape[1]:
        return turned if tuple(turned.shape) == answered.shape else stored
    like = library.zeros((1,))
    weight = library.convert(library.make(answered), like)
    distances = [float(((weight - library.convert(each, like)) ** 2).sum()) for each in (stored, turned)]
    return stored if distances[0] <= distances[1] else turned


def _receive_trained(
    full_name: str,
    tensor: WireTensor,
    library: TensorLibrary[Array],
    request: BlockRequest[Array],
    layers: Mapping[str, SolvedBlockLayer[Array]],
    sent: Mapping[str, LayerToUpload[Array]],
) -> Array:
    """Return a trained tensor, which must have its form in the request, and the zeros of its layer."""
    name = full_name.removeprefix(_TRAINED)
    if not request.is_reconstructed or name not in request.tensors:
        raise ValueError(f"the trained tensor {name} was not requested")
    before = request.tensors[name]
    require_layout(full_name, tensor, dtype_of(name, before), tuple(before.shape))
    made = library.make(tensor)
    magnitude_bits(full_name, library.to_integers(made), tensor.dtype)
    if name in layers:
        layer, weight = layers[name], made if sent[name].weight is before else made.T
        query: Any = {key: request.layers[name].get(key) for key in ("pattern", "sparsity")}
        asked = replace(sent[name], parameters=query)
        try:
            check_values(PrunedLayer(weight, layer.mask, None, layer.report), tensor.dtype, library, asked)
        except ValueError as fault:
            raise ValueError(f"the trained tensor {name}: {fault}") from None
    return made
