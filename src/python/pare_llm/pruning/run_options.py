"""The options of a run that choose layers and decide how they are calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pare_llm.pruning.allocation.allocate import AllocationName
from pare_llm.pruning.model.layer_choice import LayerChoice
from pare_llm.pruning.parameters import Profile, ProfileRule, read_profile


@dataclass(frozen=True)
class RunOptions:
    """The options, which `prune_` describes."""

    layers: LayerChoice | None = None
    ignore: LayerChoice | None = None
    profile: Profile | None = None
    allocate: AllocationName = "uniform"
    true_sequential: bool = False

    def rules(self) -> list[ProfileRule]:
        """Return the rules of the profile."""
        return [] if self.profile is None else read_profile(self.profile)

    def fingerprint(self) -> dict[str, object]:
        """Return the options on which the bytes of the result depend, apart from the names of the layers."""
        options = {
            "profile": self.rules() or None,
            "allocate": None if self.allocate == "uniform" else self.allocate,
            "true_sequential": self.true_sequential or None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def reported(self) -> Mapping[str, Any]:
        """Return the options as `pare.json` has them. Functions that choose layers are left out."""
        profile = self.profile
        options = {
            "layers": _patterns(self.layers),
            "skip": _patterns(self.ignore),
            "profile": Path(profile).name if isinstance(profile, (str, Path)) else profile,
            "allocate": None if self.allocate == "uniform" else self.allocate,
            "true_sequential": self.true_sequential or None,
        }
        return {name: value for name, value in options.items() if value is not None}


def _patterns(choice: LayerChoice | None) -> Sequence[str] | None:
    if choice is None or callable(choice):
        return None
    return [choice] if isinstance(choice, str) else list(choice)
