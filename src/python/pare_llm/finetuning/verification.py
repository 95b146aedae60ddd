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

    @property
    def ok(self) -> bool:
        """Whether every weight keeps the rule."""
        return not self.failures

    def __str__(self) -> str:
        """Return the sum of all weights in one line, and one line for each failure."""
        zeros = sum(count.zeros for count in self.counts.values())
        entries = sum(count.entries for count in self.counts.values())
        summary = f"{zeros} of {entries} entries of {len(self.counts)} weights are zero"
        return "\n".join([summary, *(f"{name}: {text}" for name, text in self.failures.items())])
