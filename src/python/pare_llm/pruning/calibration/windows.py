"""Cuts a calibration text into windows of tokens, as the command `pare prune` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def calibration_windows(
    tokenizer: PreTrainedTokenizerBase, text: str | Path, samples: int, seqlen: int
) -> Tensor:
    """Return evenly spaced windows of a text: window i starts at token i·⌊tokens/samples⌋.

    The windows are those of `pare prune --calibration TEXT --samples N --seqlen N`.

    Args:
        tokenizer: the tokenizer of the model.
        text: the path of a text in UTF-8. A `.jsonl` file has one document `{"text": …}` per line, and every
            other file is one document.
        samples: the number of windows.
        seqlen: the number of tokens of each window.

    Returns:
        (samples, seqlen) int64.

    Raises:
        ValueError: if the text has too few tokens, or if a line of a `.jsonl` file is not such an object. The
            message names the numbers of tokens, or the line.
    """
    if samples < 1 or seqlen < 1:
        raise ValueError(f"windows: need at least one sample and one token, got {samples} and {seqlen}")
    path = Path(text)
    tokens: list[int] = []
    for document in _read_documents(path):
        # Without `verbose`, transformers warns that a text is longer than the context of the model.
        tokens += tokenizer.encode(document, verbose=False)
    if len(tokens) < samples * seqlen:
        raise ValueError(
            f"{path}: calibration text: has {len(tokens)} tokens, but {samples} windows of {seqlen} need "
            f"{samples * seqlen}"
        )
    step = len(tokens) // samples
    return torch.tensor(tokens[: samples * step]).view(samples, step)[:, :seqlen].contiguous()


def _read_documents(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not valid UTF-8") from error
    if path.suffix != ".jsonl":
        return [text]
    lines = enumerate(text.split("\n"), 1)
    return [_read_document(line, f"{path}: line {number}") for number, line in lines if line.strip()]


def _read_document(line: str, place: str) -> str:
    try:
        document: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: is not valid JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise ValueError(f'{place}: must be an object with a string "text"')
    return str(document["text"])
