"""Divides the layers of a block into stages, which are calibrated one after the other.

The layers of a stage do not depend on each other: they share one input, or they have the same role in the
experts of one mixture.
"""

from collections.abc import Hashable, Sequence

from torch import nn

from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.model.sharding import gathered, gathering_scope
from pare_llm.pruning.ranks import Ranks
from pare_llm.statistics.observed_inputs import LayerInput, observed_inputs
from pare_llm.statistics.seen_input import SeenInput


def find_stages(
    model: nn.Module, block: Block, layers: Sequence[Layer], hidden: HiddenStates, ranks: Ranks
) -> list[list[Layer]]:
    """Return the stages of the layers of a block in the order in which the block calls them.

    One batch runs through the block to find them. A layer that the batch does not reach is a stage of its
    own, after the others. Every rank has to call this function.
    """
    stages: dict[Hashable, list[str]] = {}

    def record(name: str, layer: LinearLayer, values: LayerInput) -> None:
        is_last = layer.role == "down_proj"
        key = SeenInput(values.values) if layer.expert is None else (layer.module, is_last)
        stages.setdefault(key, []).append(name)

    with (
        gathered(gathering_scope(model, block.module)),
        observed_inputs({layer.name: layer.linear for layer in layers}, record),
    ):
        ranks.together(lambda: hidden.observe_first(block))
    # A rank without batches has no stages.
    names = next(filter(None, ranks.collect(list(stages.values()))), [])
    reached = {name for stage in names for name in stage}
    by_name = {layer.name: layer for layer in layers}
    return [
        *([by_name[name] for name in dict.fromkeys(stage)] for stage in names),
        *([layer] for layer in layers if layer.name not in reached),
    ]
