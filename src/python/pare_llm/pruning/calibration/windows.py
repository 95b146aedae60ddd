"""Cuts calibration texts into windows of tokens, as the command `pare prune` does."""

from __future__ import annotations

import io
import json
import math
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pare_llm.checkpoints.remote import PIECE_BYTES, as_path
from pare_llm.checkpoints.shard import open_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


HELD_OUT_SHARE = 1 / 8
"""The share of the calibration windows that is held out by default, as with `pare prune`."""


def calibration_windows(
    tokenizer: PreTrainedTokenizerBase,
    text: str | Path | Mapping[str | Path, float] | Mapping[str, float],
    samples: int,
    seqlen: int,
) -> Tensor:
    """Return evenly spaced windows of a text: window i starts at token i·⌊tokens/samples⌋.

    `pare prune --calibration TEXT --samples N --seqlen N --validation 0` uses the same windows.

    Args:
        tokenizer: the tokenizer of the model.
        text: the path of a text in UTF-8, or its location in an object store, such as `s3://bucket/text`. A
            `.jsonl` file has one document `{"text": …}` per line, and is read line by line. Every other file
            is one document. Or several texts, each with its share of the windows, as in
            `{"prose.txt": 2, "code.jsonl": 1}`. A model that is calibrated on one kind of text is best on
            this kind.
        samples: the number of windows of all texts.
        seqlen: the number of tokens of each window.

    Returns:
        (samples, seqlen) int64.

    Raises:
        ValueError: if a text has too few tokens, if there are fewer windows than texts, if a share is not
            positive, or if a line of a `.jsonl` file is not such an object. The message names the numbers of
            tokens, or the line.
    """
    if samples < 1 or seqlen < 1:
        raise ValueError(f"windows: need at least one sample and one token, got {samples} and {seqlen}")
    shares = text if isinstance(text, Mapping) else {text: 1.0}
    counts = _divide_windows(samples, {str(path): share for path, share in shares.items()})
    parts = [_windows_of(tokenizer, as_path(path), count, seqlen) for path, count in counts.items()]
    return torch.cat(parts)


def hold_out(windows: Tensor, share: float = HELD_OUT_SHARE) -> tuple[Tensor, Tensor]:
    """Divide calibration windows into windows to fit and evenly spaced held-out windows.

    From one text, `pare prune --validation SHARE` holds out the same windows. `prune_` divides its batches in
    the same way.

    Args:
        windows: (samples, seqlen), the windows.
        share: the share of the windows that are held out, from 0 to 0.5. Of fewer than 1/share windows, none
            is held out.

    Returns:
        the windows to fit and the held-out windows.

    Raises:
        ValueError: if the share is out of range.
    """
    is_held_out = torch.zeros(len(windows), dtype=torch.bool)
    is_held_out[held_out_positions(len(windows), share)] = True
    return windows[~is_held_out], windows[is_held_out]


def held_out_positions(windows: int, share: float) -> list[int]:
    """Return the positions of the held-out windows among `windows`. `hold_out` describes the error."""
    if not 0 <= share <= 0.5:
        raise ValueError(f"share of held-out windows: must be from 0 to 0.5, got {share}")
    count = math.floor(windows * share)
    return [math.floor((i + 0.5) * windows / count) for i in range(count)]


def _divide_windows(samples: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return the number of windows of each text by the largest remainder, at least one for each."""
    if samples < len(shares):
        raise ValueError(f"samples: {samples} windows are fewer than the {len(shares)} texts")
    for path, share in shares.items():
        if not share > 0:
            raise ValueError(f"{path}: the share of a text must be larger than 0, got {share}")
    total = sum(shares.values())
    quotas = [max(0.0, samples * share / total - 1) for share in shares.values()]
    free = samples - len(shares)
    scale = free / sum(quotas) if free > 0 else 0.0
    counts = [1 + math.floor(quota * scale) for quota in quotas]
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - 1 - quotas[i] * scale)
    for i in by_remainder[: samples - sum(counts)]:
        counts[i] += 1
    return dict(zip(shares, counts, strict=True))


def _windows_of(tokenizer: PreTrainedTokenizerBase, path: Path, samples: int, seqlen: int) -> Tensor:
    tokens = array("i")
    for document in _read_documents(path):
        # Without `verbose`, transformers warns that a text is longer than the context of the model.
        tokens.extend(tokenizer.encode(document, verbose=False))
    if len(tokens) < samples * seqlen:
        raise ValueError(
            f"{path}: calibration text: has {len(tokens)} tokens, but {samples} windows of {seqlen} need "
            f"{samples * seqlen}"
        )
    step = len(tokens) // samples
    every = torch.frombuffer(tokens, dtype=torch.int32)[: samples * step]
    return every.view(samples, step)[:, :seqlen].long()


def _read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of a file. Of a `.jsonl` file, one line at a time is in memory."""
    with io.BufferedReader(open_file(path), PIECE_BYTES) as file:
        try:
            if path.suffix != ".jsonl":
                yield io.TextIOWrapper(file, "utf-8-sig").read()
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                    yield _read_document(text, f"{path}: line {number}")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not valid UTF-8") from error


def _read_document(line: str, place: str) -> str:
    try:
        document: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: is not valid JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise ValueError(f'{place}: must be an object with a string "text"')
    return str(document["text"])
