"""The result of a check of zeros."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ZeroCount:
    """The number of zeros of one weight, and the number of its entries."""

    zeros: int
    entries: int

    @property
    def sparsity(self) -> float:
        """The fraction of entries that are zero."""
        return self.zeros / self.entries if self.entries else 0.0


@dataclass
class Verification:
    """The zeros of some weights, and the weights that broke the rule."""

    # The zeros of each checked weight, by its name.
    counts: dict[str, ZeroCount] = field(default_factory=dict)
    # For each weight that broke the rule, a sentence that says how.
    failures: dict[str, str] = field(default_factory=dict)
    # Matrices that were not checked, because they are not weights of linear layers.
    unchecked: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every weight keeps the rule."""
        return not self.failures

    def __str__(self) -> str:
        """Return the sum of all weights, each failure, and the matrices that were not checked, in lines."""
        zeros = sum(count.zeros for count in self.counts.values())
        entries = sum(count.entries for count in self.counts.values())
        summary = f"{zeros} of {entries} entries of {len(self.counts)} weights are zero"
        failures = [f"{name}: {text}" for name, text in self.failures.items()]
        others = [f"not checked: {', '.join(self.unchecked)}"] if self.unchecked else []
        return "\n".join([summary, *failures, *others])
