"""Reads the tensors of a checkpoint, with dense weights in place of the quantised ones."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pare_llm.checkpoints.folder import CheckpointFolder, nearest
from pare_llm.checkpoints.layout import dense_config, read_layout
from pare_llm.checkpoints.quantized import QuantizedWeight, find_quantized, quantized_stem
from pare_llm.checkpoints.remote import as_path


def load(folder: str | os.PathLike[str]) -> "CheckpointTensors":
    """Open a checkpoint that Pare, transformers, compressed-tensors or the ranks of a training program wrote.

    The result is a mapping of its tensors.

    The folder has a config.json and safetensors files, which are dense or in the layout `pack-quantized`, or
    the files of `torch.distributed.checkpoint`. It may be in an object store, such as `s3://bucket/folder`.
    Opening reads the headers. A tensor is read and decoded when it is requested, each time anew, so a loop
    over `items()` needs memory for one tensor and for the parts of one strip of it. The tensors are on the
    CPU, own their memory, and have the bits that `pare unpack` writes.

    Raises FileNotFoundError if a file is missing. Raises ValueError if a file is malformed: at once if names,
    dtypes or shapes are wrong, and when the tensor is requested if its values contradict each other.

    >>> with load("pruned") as tensors:
    ...     zeros = {name: int((tensor == 0).sum()) for name, tensor in tensors.items()}
    """
    return CheckpointTensors(CheckpointFolder(as_path(folder)))


def load_state_dict(folder: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint into a dict, for `load_state_dict` of a module.

    The formats and the errors are the same as in `load`. The shards are read one after the other. Besides the
    result, at most one strip of one weight is in memory. A tensor that a model ties to another one, such as
    the head of OPT, is absent if the file does not have it.
    """
    with load(folder) as tensors:
        return dict(tensors.items())


class CheckpointTensors(Mapping[str, torch.Tensor]):
    """The dense tensors of a checkpoint by name, in the order of the files. Made by `load`.

    The weight files stay open until the `with` statement ends, or until nothing refers to the mapping.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self._folder = folder
        self._weights = _find_weights(folder)

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json without the description of the layout. It describes a dense model."""
        return dense_config(self._folder.config)

    def __getitem__(self, name: str) -> torch.Tensor:
        """Read and decode a tensor. Raises KeyError if there is none, and ValueError if it is malformed."""
        if name not in self._weights:
            raise KeyError(f"{self._folder.path}: has no tensor {name}{nearest(name, self._weights)}")
        weight = self._weights[name]
        if weight is not None:
            return weight.decode(self._folder)
        return self._folder.read(name).view(self._folder.info(name).shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __contains__(self, name: object) -> bool:
        """Whether the checkpoint has the tensor. The tensor is not read."""
        return name in self._weights

    def __enter__(self) -> "CheckpointTensors":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.close()


def _find_weights(folder: CheckpointFolder) -> dict[str, QuantizedWeight | None]:
    """Map each dense name to its quantised weight, or to None if the tensor is stored as it is."""
    try:
        kinds = read_layout(folder.config)
    except ValueError as error:
        raise ValueError(f"{folder.path}: {error}") from None
    weights: dict[str, QuantizedWeight | None] = {}
    found: set[str] = set()
    for name in folder.names():
        stem = None if kinds is None else quantized_stem(name)
        if kinds is None or stem is None:
            weights[name] = None
        elif stem not in found:
            found.add(stem)
            weight = find_quantized(folder, stem, kinds)
            weights[weight.name] = weight
    return weights
