"""The parameters of a layer that this process solves, with the defaults and the rules of a host."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MAX_COLUMNS = 128  # of an n:m group, and of a block unless a grid is wider
_RANGES = {"sparsity": (0, 1), "damping": (0, 1), "bits": (2, 8), "group_size": (0, 256)}
# The values of the other parameters that need no host.
_METHODS = {"method=sparsegpt", "method=magnitude", "method=wanda", "target=none", "reconstruct=0"}
_ROUNDING = {"symmetric=False", "symmetric=True", "ranges=search", "order=natural", "scale_dtype=F32"}
_ACCEPTED = _METHODS | _ROUNDING | {"refit=0", "error=True", "dtype=same"}


def require_local(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError that names a parameter that needs a host, or a number that is out of its range."""
    for name, value in parameters.items():
        if value is None or name == "pattern":
            continue
        if name in _RANGES and not isinstance(value, str):
            low, high = _RANGES[name]
            if not low <= value <= high or (name == "sparsity" and value == 1):
                below = "below " if name == "sparsity" else ""
                raise ValueError(f"{name}: must be from {low} to {below}{high}, got {value}")
        elif f"{name}={value}" not in _ACCEPTED:
            raise ValueError(
                f"{name}={value}: needs a host. Start one with `deno task serve` in a clone of Pare, and "
                'give prune_ the client Pare("http://127.0.0.1:8000")'
            )


@dataclass(frozen=True)
class LocalOptions:
    """The parameters of one layer, as `LayerQuery` describes them."""

    method: str = "sparsegpt"
    pattern: str = "unstructured"
    sparsity: float = 0.5
    damping: float = 0.01
    bits: int = 0
    group_size: int = 0
    symmetric: bool = False

    @classmethod
    def read(cls, query: Mapping[str, Any]) -> "LocalOptions":
        """Return the options, or raise a ValueError that names a parameter and the rule that it breaks."""
        require_local(query)
        options = cls(**{each.name: query[each.name] for each in fields(cls) if each.name in query})
        (keep, group), pattern, size = options.groups, options.pattern, options.group_size
        implied, of_grids = 1 - keep / group, size or options.symmetric
        is_groups, sparsity = 1 <= keep < group <= MAX_COLUMNS, query.get("sparsity", implied)
        for name, is_met, rule in (
            ("pattern", is_groups or pattern == "unstructured", f"n:m with 1 ≤ n < m ≤ {MAX_COLUMNS}"),
            ("sparsity", group == 1 or abs(sparsity - implied) < 1e-5, f"{implied} with pattern {pattern}"),
            ("group_size", size % group == 0, f"a multiple of {group}, the group of the pattern"),
            ("bits", options.bits or not of_grids, "given with group_size or symmetric"),
        ):
            if not is_met:
                raise ValueError(f"{name}: must be {rule}, got {query.get(name)!r}")
        return options

    @property
    def groups(self) -> tuple[int, int]:
        """The n and the m of a pattern n:m. Any other pattern has 0 and 1."""
        match = re.fullmatch(r"(\d{1,4}):0*([1-9]\d{0,3})", self.pattern)
        return (int(match[1]), int(match[2])) if match else (0, 1)
