"""The options of a run that choose layers, and that decide how they are calibrated and trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from pare_llm.arguments import require
from pare_llm.client.layer_query import LayerQuery, OtherLayerParameters
from pare_llm.pruning.allocation.allocate import AllocationName
from pare_llm.pruning.model.layer_choice import LayerChoice
from pare_llm.pruning.model.layers import Layer
from pare_llm.pruning.parameters import Profile, ProfileRule, read_profile, require_names

TargetSource = Literal["dense", "none"]
"""Where the targets of the layers come from. `dense` stands for the dense model."""


class OtherRunParameters(OtherLayerParameters, total=False):
    """The parameters of `RunParameters` that `prune_` does not name in its signature."""

    profile: Profile | None
    """Other parameters for some layers: a JSON file, or its rules, as with `pare prune --profile`. An example
    is `[{"match": "fc2", "sparsity": 0.3}, {"match": "*.0.*", "skip": True}]`."""
    skip: LayerChoice | None
    """Another name of `ignore`, as of `pare prune --skip`."""
    true_sequential: bool
    """Whether each group of layers that share an input is calibrated after the earlier groups of its block
    are pruned. This takes one more forward pass for each group."""


class RunParameters(LayerQuery, OtherRunParameters, total=False):
    """The options of a run, which `prune_` describes, and the parameters of all its layers (`LayerQuery`).

    As in the command `pare prune`, the method is `alps`, the sparsity 0.5, and `token_weights` `unit` unless
    others are given.
    """

    layers: LayerChoice | None
    ignore: LayerChoice | None
    allocate: AllocationName
    target: TargetSource
    reconstruct: int


@dataclass(frozen=True)
class RunOptions:
    """The options of `RunParameters` that are not parameters of the layers."""

    layers: LayerChoice | None = None
    ignore: LayerChoice | None = None
    profile: Profile | None = None
    allocate: AllocationName = "uniform"
    true_sequential: bool = False
    target: TargetSource = "none"
    reconstruct: int = 0

    @classmethod
    def split(cls, parameters: Mapping[str, Any]) -> tuple[RunOptions, dict[str, Any]]:
        """Return the options among `RunParameters`, and the parameters of the layers.

        A TypeError names an unknown parameter.
        """
        names = {field.name for field in fields(cls)}
        require_names(parameters, RunParameters.__annotations__)
        parameters = {**parameters}
        if (skip := parameters.pop("skip", None)) is not None:
            if parameters.get("ignore") is not None:
                raise TypeError("skip: is another name of ignore, so only one of the two can be given")
            parameters["ignore"] = skip
        options = {name: value for name, value in parameters.items() if name in names}
        return cls(**options), {name: value for name, value in parameters.items() if name not in names}

    def rules(self) -> list[ProfileRule]:
        """Return the rules of the profile."""
        return [] if self.profile is None else read_profile(self.profile)

    def fingerprint(self) -> dict[str, object]:
        """Return the options on which the bytes of the result depend, apart from the names of the layers."""
        return {**self._changed(), **({"profile": rules} if (rules := self.rules()) else {})}

    def reported(self) -> Mapping[str, Any]:
        """Return the options as `pare.json` has them. Functions that choose layers are left out."""
        profile = self.profile
        options = {
            "layers": _patterns(self.layers),
            "skip": _patterns(self.ignore),
            "profile": Path(profile).name if isinstance(profile, (str, Path)) else profile,
        }
        return {**{name: value for name, value in options.items() if value is not None}, **self._changed()}

    def _changed(self) -> dict[str, object]:
        """Return the options with names of their own that differ from their defaults."""
        names = ("allocate", "true_sequential", "target", "reconstruct")
        defaults = RunOptions()
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value != getattr(defaults, name)}

    def needing_batches(self) -> dict[str, object]:
        """Return the options that do not work without calibration batches, whatever the method is."""
        return {name: value for name, value in self._changed().items() if name != "true_sequential"}

    def require_possible(self, queries: Mapping[Layer, Mapping[str, Any]], *, is_sharded: bool) -> None:
        """Raise a ValueError that names an option and what it does not work with.

        `queries` has the parameters of each layer that is pruned.
        """
        require("true_sequential", self.true_sequential, bool, "True or False")
        if self.target not in ("dense", "none"):
            raise ValueError(f"target: must be dense or none, got {self.target!r}")
        if self.target == "dense":
            self._require_targets_possible(queries)
        elif stepped := _with_parameter(queries, "target_step"):
            raise ValueError(
                f"target_step={queries[stepped]['target_step']}: needs target='dense', which gives "
                f"{stepped.name} a target"
            )
        if not isinstance(self.reconstruct, int) or self.reconstruct < 0:
            raise ValueError(
                f"reconstruct: must be a number of epochs that is at least 0, got {self.reconstruct!r}"
            )
        if self.reconstruct and torch.is_inference_mode_enabled():
            raise ValueError(
                f"reconstruct={self.reconstruct}: needs gradients, which torch.inference_mode does not allow"
            )
        if self.reconstruct and is_sharded:
            raise ValueError(
                f"reconstruct={self.reconstruct}: does not work with a model that fully_shard has sharded"
            )
        if self.reconstruct and self.target == "none" and _prunes_nothing(queries.values()):
            raise ValueError(
                f"reconstruct={self.reconstruct}: trains blocks before they are rounded, so with sparsity=0 "
                "it needs target='dense'"
            )

    def _require_targets_possible(self, layers: Collection[Layer]) -> None:
        if self.true_sequential:
            raise ValueError(
                "target='dense': does not work with true_sequential, because both streams run through the "
                "dense block"
            )
        if expert := next((layer for layer in layers if layer.linear.expert is not None), None):
            raise ValueError(
                f"target='dense': does not work with mixtures of experts, and {expert.name} is a layer of "
                "an expert"
            )


def _prunes_nothing(queries: Iterable[Mapping[str, Any]]) -> bool:
    return all(query.get("sparsity") == 0 for query in queries)


def _with_parameter(queries: Mapping[Layer, Mapping[str, Any]], name: str) -> Layer | None:
    return next((layer for layer, query in queries.items() if query.get(name) is not None), None)


def _patterns(choice: LayerChoice | None) -> Sequence[str] | None:
    if choice is None or callable(choice):
        return None
    return [choice] if isinstance(choice, str) else list(choice)
