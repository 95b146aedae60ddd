"""The Hessians of the layers that were called, by the name of the layer."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from pare_llm.layers.linear_layer import list_names
from pare_llm.statistics.hessian import Hessian


class RecordedHessians(dict[str, Hessian]):
    """A dictionary whose KeyError says why a layer has no Hessian."""

    def __init__(self, hessians: Mapping[str, Hessian], recorded: Sequence[str]) -> None:
        """Store the Hessians of the layers that were called, and the names of all layers to record."""
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
