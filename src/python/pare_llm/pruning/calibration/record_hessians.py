"""Records the Hessians of the layers of one block."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.calibration.target_statistics import TargetStatistics
from pare_llm.pruning.input_statistics import InputStatistics
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.statistics.hessian import TokenWeights
from pare_llm.statistics.observed_inputs import LayerInput, observed_inputs
from pare_llm.statistics.recorder import HessianRecorder
from pare_llm.statistics.seen_input import SeenInput


def record_hessians(
    block: Block,
    layers: Sequence[Layer],
    hidden: HiddenStates,
    token_weights: TokenWeights,
    targets: TargetStatistics | None = None,
) -> HessianRecorder:
    """Run the block on the batches of all ranks, and return the sums over all ranks.

    Held-out batches are summed on their own. Tokens that the attention mask of a batch marks as padding are
    left out. `targets` observes the same forward passes. Every rank has to call this function.

    Raises:
        ValueError: if no token of any batch reached a layer. An expert may be without tokens.
    """
    # The recorder finds its layers here, because it would not find them while `gathered` replaces modules.
    names = [layer.local_name for layer in layers]
    recorder = HessianRecorder(block.module, names, token_weights=token_weights)

    @contextmanager
    def watch(index: int) -> Iterator[None]:
        recorder.validating = hidden.batches[index].is_held_out
        recorder.attention_mask = hidden.batches[index].padding
        with targets.observe(index) if targets else nullcontext(), recorder:
            yield

    hidden.observe(block, watch)
    if hidden.ranks.count > 1:
        recorder.all_reduce(hidden.ranks.group)
    hessians = recorder.hessians
    unused = [
        layer.name
        for layer in layers
        if layer.local_name not in hessians
        or (hessians[layer.local_name].tokens == 0 and layer.linear.expert is None)
    ]
    if unused:
        raise ValueError(
            f"no calibration token reached {', '.join(unused)}; "
            "use more batches, or leave these layers out with ignore="
        )
    return recorder


def pack_hessians(
    recorder: HessianRecorder, layers: Sequence[Layer], client: LayerClient, *, solves: int = 1
) -> dict[str, InputStatistics]:
    """Return the statistics of `layers` for `client`, by the name of the layer.

    Layers with the same input have the same statistics. The matrices of the recorder are freed. `solves` is
    the number of times that each layer will be solved.
    """
    fitted, held_out = recorder.hessians, recorder.validation_hessians
    sums = {layer.name: (fitted[layer.local_name], held_out.get(layer.local_name)) for layer in layers}
    uses = Counter(sums.values())
    of_experts = {sums[layer.name] for layer in layers if layer.linear.expert is not None}
    packed: dict[object, InputStatistics] = {}
    for (hessian, validation), count in uses.items():
        if hessian.tokens == 0:
            # With the Hessian 0, a solver would set all weights to 0. With the identity, every solver prunes
            # by magnitude.
            hessian.replace(torch.eye(hessian.in_features), 0)
        is_validated = validation is not None and validation.tokens > 0
        packed[hessian, validation] = InputStatistics(
            client,
            hessian.upper().cpu(),
            validation_upper=validation.upper().cpu() if validation and is_validated else None,
            is_shared=count * solves > 1,
            tokens=hessian.tokens if (hessian, validation) in of_experts else None,
        )
    for hessian in {each for pair in uses for each in pair if each is not None}:
        hessian.replace(hessian.matrix.new_zeros(0, 0), hessian.tokens)
    return {name: packed[pair] for name, pair in sums.items()}


def find_stages(block: Block, layers: Sequence[Layer], hidden: HiddenStates) -> list[list[Layer]]:
    """Return the stages of the layers of a block in the order in which the block calls them.

    One batch runs through the block to find them. A layer that the batch does not reach is a stage of its
    own, after the others. Every rank has to call this function.
    """
    stages: dict[Hashable, list[str]] = {}

    def record(name: str, layer: LinearLayer, values: LayerInput) -> None:
        is_last = layer.role == "down_proj"
        key = SeenInput(values.values) if layer.expert is None else (layer.module, is_last)
        stages.setdefault(key, []).append(name)

    def watch(_: int) -> AbstractContextManager[object]:
        return observed_inputs({layer.name: layer.linear for layer in layers}, record)

    hidden.observe(block, watch, limit=1)
    # A rank without batches has no stages.
    names = next(filter(None, hidden.ranks.collect(list(stages.values()))), [])
    reached = {name for stage in names for name in stage}
    by_name = {layer.name: layer for layer in layers}
    return [
        *([by_name[name] for name in dict.fromkeys(stage)] for stage in names),
        *([layer] for layer in layers if layer.name not in reached),
    ]
