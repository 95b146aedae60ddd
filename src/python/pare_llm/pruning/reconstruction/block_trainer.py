"""Trains the parameters of one pruned block by Adam (arXiv 1412.6980), with the masks of its weights fixed.

The loss is the mean over all tokens of ‖out − y‖²/‖y‖², where y is the wanted output of the block. Published
with transformer matching in 3BASiL (arXiv 2603.01376), in another form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pare_llm.layers.find_layers import adapter_modules, routers
from pare_llm.pruning.calibration.block_error import mean_error, token_errors
from pare_llm.pruning.calibration.calls import output_states
from pare_llm.pruning.calibration.capture import inference
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.prune_report import Reconstruction
from pare_llm.pruning.ranks import Ranks

WINDOWS_PER_STEP = 8
"""The number of windows of all ranks whose gradients are added up for one step of the optimiser."""

LEARNING_RATE = 5e-4
"""The learning rate of the first step. It falls with a cosine over all steps."""

LAST_LEARNING_RATE = LEARNING_RATE / 5


class BlockTrainer:
    """The parameters of one block in float32, and their optimiser. The block keeps its own parameters."""

    def __init__(
        self,
        block: Block,
        layers: Sequence[Layer],
        inputs: HiddenStates,
        wanted: HiddenStates,
    ) -> None:
        """Copy the parameters to train. `layers` are pruned.

        `wanted` has the outputs that the block should have for `inputs`.
        """
        self._block = block
        self._inputs = inputs
        self._wanted = wanted
        self._batches = inputs.batches
        self._ranks = inputs.ranks
        self._parameters = trained_parameters(block, layers)
        self._masks = _masks(self._parameters, layers)
        self._values = {
            name: parameter.detach().to(torch.float32, copy=True).requires_grad_()
            for name, parameter in self._parameters.items()
        }
        self._optimizer = torch.optim.Adam(self._values.values(), lr=LEARNING_RATE)

    def train(self, epochs: int) -> tuple[Reconstruction, dict[str, Tensor]]:
        """Return what the training achieved, and the parameters of the best epoch in the model's dtypes.

        The best epoch has the least error on the held-out batches, or on all if none is held out. The
        parameters before the training count as epoch 0. Every rank has to call this method.
        """
        steps = self._steps()
        before = least = self._error()
        kept_epoch, best = 0, self._copy()
        for epoch in range(1, epochs + 1):
            for index, step in enumerate(steps):
                progress = ((epoch - 1) * len(steps) + index) / (epochs * len(steps))
                self._step(step, _learning_rate(progress))
            error = self._error()
            if error < least:
                least, kept_epoch, best = error, epoch, self._copy()
        return Reconstruction(epochs=epochs, before=before, after=least, kept_epoch=kept_epoch), best

    def _steps(self) -> list[list[int]]:
        """Return the indices of this rank's batches for each step, as many steps as the other ranks have."""
        limit = windows_per_batch(self._ranks)
        steps: list[list[int]] = []
        windows = limit
        for index, batch in enumerate(self._batches):
            if batch.is_held_out:
                continue
            if windows + batch.windows > limit:
                steps.append([])
                windows = 0
            steps[-1].append(index)
            windows += batch.windows
        count = max(self._ranks.collect(len(steps)))
        return steps + [[] for _ in range(count - len(steps))]

    def _step(self, batches: Sequence[int], learning_rate: float) -> None:
        tokens = sum(self._ranks.collect(self._ranks.together(partial(self._add_gradients, batches))))
        for name, values in self._values.items():
            gradient = torch.zeros_like(values) if values.grad is None else values.grad
            values.grad = self._ranks.sum(gradient) / tokens
            if name in self._masks:
                values.grad *= self._masks[name]
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _add_gradients(self, batches: Sequence[int]) -> int:
        """Add the gradients of the errors of all tokens, and return the number of tokens."""
        tokens = 0
        with inference(self._block.module), torch.enable_grad():
            for index in batches:
                errors = self._errors(index)
                errors.sum().backward()  # type: ignore[no-untyped-call]
                tokens += len(errors)
        return tokens

    def _error(self) -> float:
        """Return the `mean_error`, with the parameters in their dtypes."""
        return mean_error(self._block, self._inputs, self._errors)

    def _errors(self, index: int) -> Tensor:
        """Return the `token_errors` of a batch."""
        block = self._block
        _, args, kwargs = self._inputs.batch(block, index)
        outputs = functional_call(block.module, self._rounded(), args, kwargs)
        found = output_states(outputs, block.name)
        return token_errors(block, found, self._wanted.states(index), self._batches[index].padding)

    def _rounded(self) -> dict[str, Tensor]:
        """Return the parameters in the dtypes of the model. Gradients pass through the rounding."""
        return {name: values.to(self._parameters[name].dtype) for name, values in self._values.items()}

    def _copy(self) -> dict[str, Tensor]:
        return {name: values.detach().clone() for name, values in self._rounded().items()}


def windows_per_batch(ranks: Ranks) -> int:
    """Return the most windows of a batch, so that the batches of all ranks fit into one step."""
    return max(1, WINDOWS_PER_STEP // ranks.count)


def trained_parameters(block: Block, layers: Sequence[Layer]) -> dict[str, nn.Parameter]:
    """Return the weights of `layers`, and the biases and norms of their block, by their names in the block.

    Routers of experts and adapters are not trained.
    """
    fixed = {
        id(parameter)
        for module in (*routers(block.module), *adapter_modules(block.module))
        for parameter in module.parameters()
    }
    pruned = {id(layer.linear.parameter) for layer in layers}
    return {
        name: parameter
        for name, parameter in block.module.named_parameters()
        if id(parameter) in pruned or (_is_bias_or_norm(name, parameter) and id(parameter) not in fixed)
    }


def _is_bias_or_norm(name: str, parameter: nn.Parameter) -> bool:
    return name.endswith("bias") or (name.endswith("weight") and parameter.ndim == 1)


def _masks(parameters: Mapping[str, nn.Parameter], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Return for each parameter with weights of `layers` which of its entries are weights that are not 0."""
    masks: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        own = [layer.linear for layer in layers if layer.linear.parameter is parameter]
        if own:
            masks[name] = torch.zeros_like(parameter, dtype=torch.bool)
            for linear in own:
                linear.part(masks[name]).copy_(linear.part(parameter.detach()) != 0)
    return masks


def _learning_rate(progress: float) -> float:
    """Return the learning rate after a part `progress`, 0 to 1, of all steps."""
    span = LEARNING_RATE - LAST_LEARNING_RATE
    return LAST_LEARNING_RATE + span * (1 + math.cos(math.pi * progress)) / 2
