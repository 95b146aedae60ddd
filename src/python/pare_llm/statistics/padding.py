"""Attention masks that say which tokens of a batch are padding."""

import inspect
from collections.abc import Callable, Mapping

from torch import Tensor, nn


class PaddingMask:
    """Marks the tokens of one batch that are padding, which is left out of the statistics."""

    def __init__(self, mask: Tensor) -> None:
        """Read a mask (batch, seq), in which 0 marks padding. Raise a ValueError for other shapes."""
        if mask.dim() != 2:
            raise ValueError(
                f"attention_mask: has shape {tuple(mask.shape)}, but padding is read from masks of shape "
                "(batch, seq). Set HessianRecorder.attention_mask to such a mask, or to None if no token is "
                "padding"
            )
        self._real = mask != 0
        self._has_padding = not bool(self._real.all())

    def for_input(self, name: str, inputs: Tensor, *, seq_first: bool = False) -> Tensor | None:
        """Return the mask of the tokens of a layer's input, or None if no token of the batch is padding.

        `inputs` has the shape (batch, seq, …, in) or (batch·seq, in), or with `seq_first` (seq, batch, in) or
        (seq·batch, in). The mask is bool with this shape without its last dimension. Another shape raises a
        ValueError, such as the input of an expert, which is a selection of the tokens.
        """
        if not self._has_padding:
            return None
        real = (self._real.t() if seq_first else self._real).to(inputs.device)
        tokens = inputs.shape[:-1]
        if tokens[:2] == real.shape:
            return real.view(*real.shape, *[1] * (len(tokens) - 2)).expand(tokens)
        if tokens in ((real.numel(),), (1, real.numel())):
            return real.reshape(tokens)
        batch, seq = self._real.shape
        raise ValueError(
            f"layer {name!r}: its input has shape {tuple(inputs.shape)}, in which the padding of an "
            f"attention mask of shape ({batch}, {seq}) cannot be found. Record batches without padding, or "
            "leave the layer out of layers="
        )


class BatchPadding:
    """Follows the calls of a model, and knows the padding of the batch that is running."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._mask: PaddingMask | None = None
        self._given: Tensor | None = None
        self._is_given = False
        self._running_calls = 0

    @property
    def given(self) -> Tensor | None:
        return self._given

    def give(self, mask: Tensor | None) -> None:
        """Set the mask of the next batches, which overrides the masks that the model gets."""
        self._mask = None if mask is None else PaddingMask(mask)
        self._given = mask
        self._is_given = True

    def begin(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Note that a call of the model begins, and read the mask from its arguments."""
        self._running_calls += 1
        if self._running_calls == 1 and not self._is_given:
            self._mask = _mask_of_call(self._model.forward, args, kwargs)

    def end(self) -> None:
        """Note that a call of the model has ended or raised an error."""
        self._running_calls = max(0, self._running_calls - 1)
        if self._running_calls == 0 and not self._is_given:
            self._mask = None

    def for_input(self, name: str, inputs: Tensor, *, seq_first: bool) -> Tensor | None:
        """Return the mask as `PaddingMask.for_input`. Raise a RuntimeError if the padding is unknown."""
        if self._running_calls == 0 and not self._is_given:
            raise RuntimeError(
                f"layer {name!r}: was called outside of a call of the recorded model, so the padding of its "
                "input is unknown. Set HessianRecorder.attention_mask, to None if no token is padding"
            )
        return self._mask.for_input(name, inputs, seq_first=seq_first) if self._mask else None


def _mask_of_call(
    forward: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> PaddingMask | None:
    """Return the argument `attention_mask` of a call of `forward`, or None if it has no such argument.

    If a cache holds the first tokens, only the last columns of the mask belong to the tokens of the call.
    """
    arguments = dict(zip(inspect.signature(forward).parameters, args, strict=False)) | dict(kwargs)
    mask = arguments.get("attention_mask")
    if not isinstance(mask, Tensor):
        return None
    for name in ("input_ids", "inputs_embeds"):
        tokens = arguments.get(name)
        if isinstance(tokens, Tensor) and mask.dim() == 2 and tokens.dim() >= 2:
            return PaddingMask(mask[:, -tokens.shape[1] :])
    return PaddingMask(mask)
