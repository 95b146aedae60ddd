"""The progress bar of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pare_llm.pruning.prune_report import LayerResult


@contextmanager
def progress_bar(total: int, *, is_shown: bool) -> Iterator[Callable[[LayerResult], None]]:
    """Show the number of pruned layers. The caller calls the yielded function after each layer."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        is_shown = False
    if not is_shown:
        yield lambda result: None
        return
    with tqdm(total=total, desc="pruning", unit="layer") as bar:

        def advance(result: LayerResult) -> None:
            bar.set_postfix_str(result.name)
            bar.update()

        yield advance
