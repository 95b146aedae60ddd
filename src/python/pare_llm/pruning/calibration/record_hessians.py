"""Records the Hessians of the layers of one block."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.input_statistics import InputStatistics
from pare_llm.pruning.layer_client import LayerClient
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.model.sharding import gathered, gathering_scope
from pare_llm.pruning.ranks import Ranks
from pare_llm.statistics.recorder import HessianRecorder


def record_hessians(
    model: nn.Module,
    block: Block,
    layers: Sequence[Layer],
    hidden: HiddenStates,
    batches: Sequence[Batch],
    ranks: Ranks,
) -> HessianRecorder:
    """Run the block on the batches of all ranks, and return the sums over all ranks.

    Tokens that the attention mask of a batch marks as padding are left out. Every rank has to call this
    function.

    Raises:
        ValueError: if no token of any batch reached a layer. An expert may be without tokens.
    """
    # The recorder finds its layers here, because it would not find them while `gathered` replaces modules.
    recorder = HessianRecorder(block.module, [layer.local_name for layer in layers])

    def set_mask(index: int) -> None:
        recorder.attention_mask = batches[index].padding

    def observe() -> None:
        with recorder:
            hidden.observe(block, set_mask)

    with gathered(gathering_scope(model, block.module)):
        ranks.together(observe)
    if ranks.count > 1:
        recorder.all_reduce(ranks.group)
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
            "use more batches, or leave these layers out with layers="
        )
    return recorder


def pack_hessians(
    recorder: HessianRecorder, layers: Sequence[Layer], client: LayerClient, *, solves: int = 1
) -> dict[str, InputStatistics]:
    """Return the statistics of `layers` for `client`, by the name of the layer.

    Layers with the same input have the same statistics. The matrices of the recorder are freed. `solves` is
    the number of times that each layer will be solved.
    """
    hessians = {layer.name: recorder.hessians[layer.local_name] for layer in layers}
    uses = Counter(hessians.values())
    of_experts = {hessians[layer.name] for layer in layers if layer.linear.expert is not None}
    packed: dict[object, InputStatistics] = {}
    for hessian, count in uses.items():
        if hessian.tokens == 0:
            # With the Hessian 0, a solver would set all weights to 0. With the identity, every solver prunes
            # by magnitude.
            hessian.replace(torch.eye(hessian.in_features), 0)
        packed[hessian] = InputStatistics(
            client,
            hessian.upper().cpu(),
            is_shared=count * solves > 1,
            tokens=hessian.tokens if hessian in of_experts else None,
        )
        hessian.replace(hessian.matrix.new_zeros(0, 0), hessian.tokens)
    return {name: packed[hessian] for name, hessian in hessians.items()}
