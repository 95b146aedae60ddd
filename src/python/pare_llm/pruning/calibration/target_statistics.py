"""Sums the targets of the layers of one block, which bring their outputs near to the dense model.

The model that is pruned so far gives the inputs x_p of a layer, and the dense model gives the inputs x_d for
the same tokens. The target of a layer with the weights W is

    T = Σ w·y·x_pᵀ        y = W·x_d + (r_d − r_p)/s

The second term exists if s times the outputs of the layer are added to a residual stream, which is r_d and
r_p in both models. w is the weight of the token in the Hessian. `pare prune --target dense` computes the same
sum (`src/layer/calibration/target_statistics.ts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from pare_llm.layers.linear_layer import LinearLayer
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.calibration.residual_streams import residual_streams
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.statistics.hessian import CHUNK_TOKENS, TokenWeights, full_precision_products, weigh_tokens
from pare_llm.statistics.observed_inputs import LayerInput, observed_inputs
from pare_llm.statistics.padding import PaddingMask

_Observed = tuple[Mapping[str, LayerInput], Mapping[str, Tensor]]
"""The inputs of the layers and the residual streams of one forward pass, by the names of the layers."""


@dataclass(frozen=True)
class LayerTarget:
    """The target of one layer, (out, in) float32 on the CPU."""

    fitted: Tensor
    """T over the fitted tokens."""
    held_out: Tensor | None
    """T over the held-out tokens, which chooses the size of the step towards T. None if there are none."""


class TargetStatistics:
    """The targets of some layers of a block, whose weights are dense while the block is observed."""

    def __init__(
        self,
        block: Block,
        layers: Sequence[Layer],
        dense: HiddenStates,
        token_weights: TokenWeights,
    ) -> None:
        """Begin with sums of 0. `dense` has the inputs of the block in the dense model."""
        self._block = block
        self._layers = {layer.name: layer.linear for layer in layers}
        self._fitted = _zeros(layers)
        self._is_validated = any(batch.is_held_out for batch in dense.batches)
        self._held_out = _zeros(layers) if self._is_validated else {}
        self._dense = dense
        self._token_weights: TokenWeights = token_weights

    @contextmanager
    def observe(self, index: int) -> Iterator[None]:
        """Advance the dense states of one batch, and add what the block computes inside the `with`.

        The code inside the `with` runs the block once on the same batch of the pruned model.
        """
        with _observed(self._layers) as dense:
            self._dense.advance_batch(self._block, index)
        with _observed(self._layers) as pruned:
            yield
        batch = self._dense.batches[index]
        self._add(self._held_out if batch.is_held_out else self._fitted, dense, pruned, batch.padding)

    def targets(self, own: Sequence[Layer]) -> dict[str, LayerTarget]:
        """Return the targets of the layers `own` by their names, summed over the ranks.

        Every rank has to call this method.
        """
        names, ranks = {layer.name for layer in own}, self._dense.ranks
        is_validated = any(ranks.collect(self._is_validated))
        targets: dict[str, LayerTarget] = {}
        for name, fitted in self._fitted.items():
            total = ranks.sum(fitted)
            held_out = ranks.sum(self._held_out.get(name, torch.zeros_like(fitted))) if is_validated else None
            if name in names:
                targets[name] = LayerTarget(total.cpu(), None if held_out is None else held_out.cpu())
        return targets

    def _add(
        self, sums: Mapping[str, Tensor], dense: _Observed, pruned: _Observed, mask: Tensor | None
    ) -> None:
        with torch.inference_mode(False), torch.no_grad(), full_precision_products():
            for name, own in pruned[0].items():
                padding = PaddingMask(mask) if mask is not None else None
                real = padding.for_input(name, own.values, seq_first=own.seq_first) if padding else None
                weight = self._layers[name].weight.detach().float()
                streams = [each[1][name] for each in (dense, pruned) if name in each[1]]
                x_p, x_d, *streams = (_rows(each) for each in (own.values, dense[0][name].values, *streams))
                is_real = None if real is None else real.reshape(-1)
                for start in range(0, len(x_p), CHUNK_TOKENS):
                    chunk = slice(start, start + CHUNK_TOKENS)
                    x, y = x_p[chunk].float(), linear(x_d[chunk].float(), weight)
                    if len(streams) == 2:
                        y += streams[0][chunk] - streams[1][chunk]
                    if is_real is not None:
                        x, y = x[is_real[chunk]], y[is_real[chunk]]
                    if self._token_weights == "unit":
                        x, y = weigh_tokens(x), weigh_tokens(x, y)
                    sums[name].addmm_(y.t(), x)


def _rows(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])


def _zeros(layers: Sequence[Layer]) -> dict[str, Tensor]:
    return {
        layer.name: torch.zeros(layer.shape, dtype=torch.float32, device=layer.device) for layer in layers
    }


@contextmanager
def _observed(layers: Mapping[str, LinearLayer]) -> Iterator[_Observed]:
    """Collect what one call of the block computes. A ValueError names a layer that is called twice."""
    inputs: dict[str, LayerInput] = {}

    def record(name: str, _layer: LinearLayer, values: LayerInput) -> None:
        if name in inputs:
            raise ValueError(f"{name}: is called twice in one forward pass, so it cannot have a target")
        inputs[name] = values

    with observed_inputs(layers, record), residual_streams(layers) as streams:
        yield inputs, streams
