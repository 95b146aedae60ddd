"""The result of an allocation."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Allocation:
    """The sparsity of each layer, and how it was chosen."""

    name: str
    sparsities: dict[str, float]
    """The sparsity of each layer, by the name of its weight."""
    notes: list[str]
    """The measurements behind the choice, as sentences."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, as `pare.json` has them."""
        return asdict(self)
