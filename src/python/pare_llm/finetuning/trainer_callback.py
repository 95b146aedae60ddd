"""Keeps the zeros of a pruned model in a Trainer of transformers."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pare_llm.finetuning.choose_weights import choose_weights
from pare_llm.finetuning.deepspeed_zero import hook_deepspeed, is_deepspeed_optimizer
from pare_llm.finetuning.keep_zeros import unwrap_optimizer
from pare_llm.finetuning.kept_zeros import KeptZeros


class KeepZeros(TrainerCallback):
    """A callback for `Trainer(callbacks=[KeepZeros()])`, also of libraries that extend the Trainer.

    `on_train_begin` makes the masks. By then the Trainer has loaded the checkpoint to resume from, and has
    wrapped the model for several processes. The gradients are masked in backward, before the Trainer clips
    them. `on_optimizer_step`, which the Trainer calls immediately after each step of the optimizer, sets the
    masked weights to zero. `on_train_end` removes the hooks.

    Checkpoints contain no masks. A resumed run makes them from the weights of the checkpoint.
    """

    def __init__(
        self, layers: str | Sequence[str] | None = None, folder: str | PathLike[str] | None = None
    ) -> None:
        """Choose the weights as `keep_zeros` does."""
        self.layers = layers
        self.folder = folder
        # The masks, while the Trainer runs.
        self.zeros: KeptZeros | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Make the masks, and mask the gradients from now on."""
        assert model is not None
        self.on_train_end(args, state, control)  # the last run may have ended with an error
        named = self.layers is not None or self.folder is not None
        self.zeros = KeptZeros(
            model, choose_weights(model, layers=self.layers, folder=self.folder), named=named
        )
        inner = unwrap_optimizer(optimizer)
        if is_deepspeed_optimizer(inner):
            hook_deepspeed(self.zeros, inner)
        else:
            self.zeros.hook_gradients()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the masked weights to zero."""
        assert self.zeros is not None
        self.zeros.apply()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the hooks. The masks stay, so that `zeros.verify()` still works."""
        if self.zeros is not None:
            self.zeros.remove()
