"""Collects the facts about a run for its report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from pare_llm.pruning.calibration.batches import Batch
from pare_llm.pruning.model.blocks import Block
from pare_llm.pruning.prune_report import Allocation, RunFacts
from pare_llm.pruning.ranks import Ranks


def run_facts(
    model: nn.Module,
    *,
    name: str | None = None,
    blocks: Sequence[Block],
    skipped: Sequence[str],
    batches: Sequence[Batch],
    parameters: Mapping[str, Any],
    ranks: Ranks,
    resumed: int,
    allocation: Allocation | None,
) -> RunFacts:
    """Return the facts about a run. Every rank has to call this function."""
    config: Any = getattr(model, "config", None)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    own = [(batch.shape, batch.is_held_out) for batch in batches]
    every = [each for share in ranks.collect(own) for each in share]
    shapes, held_out = [shape for shape, _ in every], [shape for shape, is_held_out in every if is_held_out]
    path = getattr(config, "_name_or_path", "")
    return RunFacts(
        model_name=name or Path(path).name or type(model).__name__,
        model_type=getattr(config, "model_type", type(model).__name__),
        blocks=len(blocks),
        hidden_size=getattr(text_config, "hidden_size", 0),
        parameters=dict(parameters),
        samples=sum(samples for samples, _ in shapes),
        validation_samples=sum(samples for samples, _ in held_out),
        seqlen=max((tokens for _, tokens in shapes), default=0),
        skipped=list(skipped),
        model_bytes=_model_bytes(model),
        resumed=resumed,
        allocation=asdict(allocation) if allocation else None,
    )


def _model_bytes(model: nn.Module) -> int:
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
