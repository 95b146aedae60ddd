"""Keeps the zeros of a pruned model in a Trainer of transformers."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pare_llm.finetuning.keep_zeros import keep_zeros
from pare_llm.finetuning.kept_zeros import KeptZeros


class KeepZerosCallback(TrainerCallback):
    """A callback for `Trainer(callbacks=[KeepZerosCallback()])`, also of libraries that extend the Trainer.

    `on_train_begin` calls `keep_zeros`. By then the Trainer has loaded the checkpoint to resume from, and has
    wrapped the model for several processes. `on_train_end` removes the hooks.

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
        """Keep the zeros from now on."""
        assert model is not None
        self.on_train_end(args, state, control)  # the last run may have ended with an error
        self.zeros = keep_zeros(model, optimizer, layers=self.layers, folder=self.folder)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the masked weights to zero also after optimizers that are stepped in backward, such as LOMO."""
        assert self.zeros is not None
        self.zeros.apply()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the hooks. The masks stay, so that `zeros.verify()` still works."""
        if self.zeros is not None:
            self.zeros.remove()
