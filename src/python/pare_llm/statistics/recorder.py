"""Records the calibration statistics of a PyTorch model while the model runs."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch import distributed as dist

from pare_llm.layers.find_layers import choose_layers, find_layers
from pare_llm.layers.linear_layer import LinearLayer, list_names
from pare_llm.layers.unwrap import is_peft_model, unwrap, wrapped_models
from pare_llm.statistics.all_reduce import all_reduce_hessians
from pare_llm.statistics.hessian import CHUNK_TOKENS, DEFAULT_TOKEN_WEIGHTS, Hessian, TokenWeights
from pare_llm.statistics.observed_inputs import LayerInput, observed_inputs
from pare_llm.statistics.padding import BatchPadding
from pare_llm.statistics.shared_hessians import SharedHessians


class RecordedHessians(dict[str, Hessian]):
    """A dictionary whose KeyError says why a layer has no Hessian."""

    def __init__(self, hessians: Mapping[str, Hessian], recorded: Sequence[str]) -> None:
        super().__init__(hessians)
        self._recorded = recorded

    def __missing__(self, name: str) -> NoReturn:
        if name not in self._recorded:
            raise KeyError(
                f"layer {name!r} is not recorded; the recorded layers are {list_names(self._recorded)}"
            )
        never_called = [layer for layer in self._recorded if layer not in self]
        raise KeyError(
            f"layer {name!r} was never called while the recorder was active, so it has no Hessian; "
            f"the layers that were never called are {list_names(never_called)}"
        )


class HessianRecorder:
    """Records H = Σ w x xᵀ of the inputs x of a model's linear layers while the model runs.

    The layers are the modules `nn.Linear` and transformers' `Conv1D`, the projections inside
    `nn.MultiheadAttention`, and the layers of experts (see `find_layers` for their names). Layers that
    receive the same input share one `Hessian`, which is computed once. The Hessian of an expert sums over the
    tokens that are routed to it, and is zero if there are none. Inputs of any floating-point dtype are summed
    in float32 on their device.

        with HessianRecorder(model, layers=["q_proj", "fc1"]) as recorder:
            for batch in batches:
                model(**batch)
        recorder.all_reduce()  # if each rank ran its own batches
        upper = recorder.hessians["model.decoder.layers.0.fc1"].upper()

    - Padding. Tokens that the argument `attention_mask` (batch, seq) of the model marks with 0 are left out.
      If the model gets no such mask, or if its blocks are called one by one, set the property
      `attention_mask`. The `key_padding_mask` of attention modules is not read.
    - Held-out batches. While the property `validating` is true, inputs are added to `validation_hessians`
      instead. A solver compares its results by the Hessian of inputs that it has not fitted.
    - Training. No autograd graph is kept. A forward pass that runs inside of a backward pass, such as the
      recomputation of activation checkpoints, is not counted, because its tokens were counted before.
    - `torch.compile`. A compiled model runs uncompiled inside the `with`, because compiled code may call no
      hooks. The compiled code is used again afterwards. Compile the model before the `with`.
    - Wrappers. Names have no prefixes of wrappers, such as `DistributedDataParallel`, `torch.compile` and
      peft, and adapters are not recorded. `nn.DataParallel` is not supported, because its threads would add
      to the same sums at once. Nor are inputs that tensor parallelism has made a `DTensor`.
    - Errors. If the code inside the `with` raises, the hooks are removed too. The statistics then hold the
      inputs up to the error.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Iterable[str] | str | None = None,
        *,
        offload: bool = False,
        chunk_tokens: int = CHUNK_TOKENS,
        token_weights: TokenWeights = DEFAULT_TOKEN_WEIGHTS,
    ) -> None:
        """Choose what to record. Nothing is recorded before the `with` block.

        Args:
            model: the module that the code inside the `with` calls, or the module inside its wrapper.
            layers: names of layers, or patterns as `choose_layers` describes them. By default, all linear
                layers.
            offload: keep the Hessians on the CPU. See `Hessian`.
            chunk_tokens: how many tokens are converted to float32 at a time.
            token_weights: how much each token counts, as in `Hessian`. `prune_` has the same default.

        Raises:
            ValueError: a pattern matches no layer, or the model has no linear layer.
        """
        self._model = unwrap(model)
        # The wrapper of peft calls the method `forward` of the model, which skips the hooks of the model.
        self._called = [*filter(is_peft_model, wrapped_models(model)), self._model]
        found = find_layers(self._model)
        if not found:
            raise ValueError(f"HessianRecorder: {type(self._model).__name__} has no linear layer")
        names = list(found) if layers is None else choose_layers(found, layers)
        self._layers = {name: found[name] for name in names}
        create = partial(Hessian, offload=offload, chunk_tokens=chunk_tokens, token_weights=token_weights)
        self._shared, self._held_out = SharedHessians(create), SharedHessians(create)
        self._is_validating = False
        self._resources: ExitStack | None = None
        self._padding = BatchPadding(self._model)
        self._is_reduced = False

    @property
    def layers(self) -> dict[str, LinearLayer]:
        """The layers to record, by name in the order of the model."""
        return dict(self._layers)

    @property
    def hessians(self) -> dict[str, Hessian]:
        """The Hessians of the layers that were called, by name in the order of the model.

        Layers that always received the same input have the same `Hessian` object. Looking up another layer
        raises a KeyError that says whether the layer was never called or is not recorded.
        """
        return self._recorded(self._shared)

    @property
    def validation_hessians(self) -> dict[str, Hessian]:
        """The Hessians of the inputs that were recorded while `validating` was true, like `hessians`."""
        return self._recorded(self._held_out)

    def _recorded(self, shared: SharedHessians) -> dict[str, Hessian]:
        shared.settle()
        found = {name: shared.hessian(layer) for name, layer in self._layers.items()}
        return RecordedHessians({name: h for name, h in found.items() if h is not None}, list(found))

    @property
    def validating(self) -> bool:
        """Whether the next batches are held out. They are added to `validation_hessians` only."""
        return self._is_validating

    @validating.setter
    def validating(self, is_validating: bool) -> None:
        self._settle()
        self._is_validating = is_validating

    def _settle(self) -> None:
        self._shared.settle()
        self._held_out.settle()

    @property
    def never_called(self) -> list[str]:
        """The names of the layers that were never called, so they have no Hessian."""
        hessians = self.hessians
        return [name for name in self._layers if name not in hessians]

    @property
    def attention_mask(self) -> Tensor | None:
        """The mask (batch, seq) of the next batches, in which 0 marks padding.

        None means that no token is padding. Setting this property overrides the argument `attention_mask` of
        the model from then on. It must be set if parts of the model are called outside of the model's own
        call.
        """
        return self._padding.given

    @attention_mask.setter
    def attention_mask(self, mask: Tensor | None) -> None:
        self._settle()
        self._padding.give(mask)

    def all_reduce(self, group: dist.ProcessGroup | None = None) -> None:
        """Replace the Hessians, also of held-out batches, by their sums over data-parallel ranks.

        The sums do not depend on how the batches were distributed. Every rank of the process group must call
        this method once, after its last batch. If a layer was never called on a rank, for example an expert
        that got no tokens, the rank contributes zeros.

        Args:
            group: the process group, by default all ranks.

        Raises:
            RuntimeError: the method was called before, so the sums would be counted several times.
            ValueError: the ranks record different layers. Every rank raises this error.
        """
        if self._is_reduced:
            raise RuntimeError(
                "HessianRecorder: all_reduce was called before, so the Hessians are sums over ranks"
            )
        self._settle()
        self._is_reduced = True
        try:
            with torch.inference_mode(False):
                all_reduce_hessians(self._layers, self._shared, group)
                all_reduce_hessians(self._layers, self._held_out, group)
        except ValueError:  # nothing was changed
            self._is_reduced = False
            raise

    def __enter__(self) -> "HessianRecorder":
        if self._resources is not None:
            raise RuntimeError("HessianRecorder: is recording already")
        with ExitStack() as stack:
            # Nothing was compiled if this module was never imported, and importing it takes seconds.
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            for module in self._called:
                begin = module.register_forward_pre_hook(self._begin_call, with_kwargs=True)
                stack.callback(begin.remove)
            stack.enter_context(observed_inputs(self._layers, self._record))
            # This hook comes last, because the model itself may be a layer whose hook must run before.
            for module in self._called:
                end = module.register_forward_hook(self._end_call, always_call=True)
                stack.callback(end.remove)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._resources is not None:
            self._resources.close()
        self._resources = None
        if error is None:
            self._settle()

    def _begin_call(self, _model: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if not _is_backward_running():
            self._padding.begin(args, kwargs)

    def _end_call(self, _model: nn.Module, _args: object, _output: object) -> None:
        if not _is_backward_running():
            self._padding.end()
            self._settle()

    def _record(self, name: str, layer: LinearLayer, layer_input: LayerInput) -> None:
        """Add the input of a layer that was called."""
        if _is_backward_running():
            return
        if self._is_reduced:
            raise RuntimeError(
                f"layer {name!r}: was called after all_reduce, so its input would be missing on other ranks"
            )
        inputs = layer_input.values
        if not inputs.is_floating_point() or hasattr(inputs, "full_tensor"):
            raise TypeError(
                f"layer {name!r}: its input is a {type(inputs).__name__} of {inputs.dtype}, but statistics "
                "are recorded from whole floating-point tensors"
            )
        whole, tokens = layer_input.routed or (inputs, None)
        real = self._padding.for_input(name, whole, seq_first=layer_input.seq_first)
        shared = self._held_out if self._is_validating else self._shared
        shared.add(layer, inputs, real if real is None or tokens is None else real.view(-1)[tokens])


def _is_backward_running() -> bool:
    """Tell whether this thread runs a backward pass, in which activation checkpoints are recomputed."""
    return torch._C._current_graph_task_id() != -1
