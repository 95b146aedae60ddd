"""Reads checkpoints that the ranks of a program wrote in pieces, with `torch.distributed.checkpoint`.

    .metadata, __0_0.distcp, …                       written by `save`
    shard-00001-model-00001-of-00001.safetensors, …  written by `save` with `HuggingFaceStorageWriter`

The readers of PyTorch are not used. They would run code that is in `.metadata`, which is a pickle.
"""

from __future__ import annotations

import io
import json
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pare_llm.checkpoints.header import ELEMENT_BYTES, TensorInfo, quote
from pare_llm.checkpoints.shard import Shard, open_file, safetensors_dtype, torch_dtype

METADATA_FILE = ".metadata"
_SHARDS = "shard-*-model-*.safetensors"
_SHARDING_KEY = "DCP_SHARDING_INFO"


def has_pieces(folder: Path) -> bool:
    """Return whether the folder has a distributed checkpoint."""
    return (folder / METADATA_FILE).is_file() or any(folder.glob(_SHARDS))


@dataclass(frozen=True)
class _Piece:
    """A part of a tensor. Its first entry has the indices `offsets` in the tensor."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]

    def places(self) -> tuple[slice, ...]:
        """Return the entries of the tensor that the piece has."""
        return tuple(slice(a, a + n) for a, n in zip(self.offsets, self.shape, strict=True))


class DistributedTensors:
    """The tensors of a distributed checkpoint, with the methods of `Shard`."""

    def __init__(self, folder: Path) -> None:
        """Read the description of the tensors. Raises a ValueError if it is malformed."""
        self.path = folder
        self.tensors: list[TensorInfo] = []
        self._pieces: dict[str, list[_Piece]] = {}
        self._shards: list[Shard] = []
        if (folder / METADATA_FILE).is_file():
            self.files = [folder / METADATA_FILE, *sorted(folder.glob("*.distcp"))]
            try:
                self._find_saved_pieces(_load_metadata(folder / METADATA_FILE))
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError(f"{folder / METADATA_FILE}: describes no tensors: {error!r}") from error
        else:
            self.files = sorted(folder.glob(_SHARDS))
            self._find_shards()

    def read(self, info: TensorInfo, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Read `count` elements from the element `first` on, by default all, as one axis on the CPU.

        The tensor and one of its pieces are in memory meanwhile.
        """
        values = torch.zeros(info.shape, dtype=torch_dtype(info.dtype))
        for piece in self._pieces[info.name]:
            part = piece.read()
            found = f"{safetensors_dtype(part.dtype, info.name)} {list(part.shape)}"
            wanted = f"{info.dtype} {list(piece.shape)}"
            if found != wanted:
                raise ValueError(f"{self.path}: a piece of {info.name} must be {wanted}, not {found}")
            values[piece.places()] = part
        end = None if count is None else first + count
        return values.view(-1)[first:end]

    def close(self) -> None:
        """Close the weight files."""
        for shard in self._shards:
            shard.close()

    def _find_saved_pieces(self, metadata: Any) -> None:
        sizes = {file.name: file.stat().st_size for file in self.files[1:]}
        places = {(index.fqn, index.offset): place for index, place in metadata.storage_data.items()}
        for key, name in _model_names(metadata).items():
            described = metadata.state_dict_metadata[key]
            dtype = safetensors_dtype(described.properties.dtype, name)
            pieces = []
            for chunk in described.chunks:
                place = places[key, chunk.offsets]
                file, begin, end = place.relative_path, place.offset, place.offset + place.length
                if file not in sizes:
                    raise ValueError(
                        f"{self.path}: {name} is in the file {quote(file)}, which is not in the folder"
                    )
                if not 0 <= begin <= end <= sizes[file]:
                    raise ValueError(
                        f"{self.path / file}: {name} is in the bytes {begin} to {end} of {sizes[file]}"
                    )
                if math.prod(chunk.sizes) * ELEMENT_BYTES[dtype] > place.length:
                    raise ValueError(
                        f"{self.path / file}: the {place.length} bytes of {name} are fewer than "
                        f"{dtype} {list(chunk.sizes)} needs"
                    )
                read = partial(_read_saved, self.path / file, begin, end, name)
                pieces.append(_Piece(tuple(chunk.offsets), tuple(chunk.sizes), read))
            self._add(name, dtype, tuple(described.size), pieces)

    def _find_shards(self) -> None:
        pieces: dict[tuple[str, str], list[_Piece]] = {}
        for file in self.files:
            shard = Shard(file)
            self._shards.append(shard)
            for info in shard.tensors:
                offsets = _saved_offsets(shard, info)
                read = partial(_read_shard, shard, info)
                pieces.setdefault((info.name, info.dtype), []).append(_Piece(offsets, info.shape, read))
        for (name, dtype), parts in pieces.items():
            ends = [[place.stop for place in part.places()] for part in parts]
            self._add(name, dtype, tuple(map(max, zip(*ends, strict=False))), parts)

    def _add(self, name: str, dtype: str, shape: tuple[int, ...], pieces: Sequence[_Piece]) -> None:
        """Add a tensor. Raises a ValueError if its pieces do not make up the tensor."""
        if name in self._pieces:
            raise ValueError(f"{self.path}: has two tensors with the name {name}")
        entries = sum(math.prod(piece.shape) for piece in pieces)
        are_inside = all(
            len(piece.offsets) == len(piece.shape) == len(shape)
            and all(
                0 <= a <= a + n <= extent
                for a, n, extent in zip(piece.offsets, piece.shape, shape, strict=True)
            )
            for piece in pieces
        )
        filled = [piece.offsets for piece in pieces if math.prod(piece.shape)]
        is_repeated = len(set(filled)) < len(filled)
        if not pieces or entries != math.prod(shape) or not are_inside or is_repeated:
            found = [f"{list(piece.shape)} at {list(piece.offsets)}" for piece in pieces]
            raise ValueError(
                f"{self.path}: {name} must have pieces that make up {dtype} {list(shape)}, not {quote(found)}"
            )
        self._pieces[name] = list(pieces)
        self.tensors.append(TensorInfo(name, dtype, shape, 0, entries * ELEMENT_BYTES[dtype]))


def _model_names(metadata: Any) -> dict[str, str]:
    """Map the keys of the model's tensors in the metadata to the names of the parameters.

    A training program often saves `{"model": …, "optimizer": …}`. If there is a dictionary `model`, only its
    tensors belong to the model.
    """
    paths = {
        key: ((metadata.planner_data or {}).get(key) or (key,))
        for key, described in metadata.state_dict_metadata.items()
        if hasattr(described, "chunks")
    }
    is_nested = any("model" in path[:-1] for path in paths.values())
    return {
        key: str(path[-1])
        for key, path in paths.items()
        if (path[-2:-1] == ("model",) if is_nested else len(path) == 1)
    }


# The names that the pickle may refer to. A module would not be enough, because it refers to other modules.
_DESCRIPTIONS = {
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
}


class _MetadataUnpickler(pickle.Unpickler):
    """Loads only the classes that describe tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("pathlib"):
            return lambda *parts: "/".join(map(str, parts))  # the folder in which the checkpoint was saved
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or name in _DESCRIPTIONS.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not describe a tensor")


def _load_metadata(path: Path) -> Any:
    with open_file(path) as file:
        content = file.readall()
    try:
        return _MetadataUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle can raise almost any error
        raise ValueError(f"{path}: cannot be read: {str(error)[:200]}") from error


def _read_saved(path: Path, begin: int, end: int, name: str) -> torch.Tensor:
    """Read a piece that `torch.save` wrote into a part of a file."""
    with open_file(path) as file:
        file.seek(begin)
        content = io.BytesIO(file.read(end - begin))
    try:
        piece = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise almost any error
        raise ValueError(f"{path}: the piece of {name} cannot be read: {str(error)[:200]}") from error
    if not isinstance(piece, torch.Tensor):
        raise ValueError(f"{path}: the piece of {name} must be a tensor, not {type(piece).__name__}")
    return piece


def _saved_offsets(shard: Shard, info: TensorInfo) -> tuple[int, ...]:
    """Return the indices of the first entry of a piece in its tensor."""
    text = shard.metadata.get(_SHARDING_KEY, "")
    try:
        offsets = json.loads(text)[info.name]["saved_offsets"]
    except (ValueError, KeyError, TypeError, RecursionError):
        offsets = None
    is_place = isinstance(offsets, list) and all(type(each) is int for each in offsets)
    if not is_place or len(offsets) != len(info.shape):
        raise ValueError(
            f"{shard.path}: {_SHARDING_KEY} must have the saved_offsets of {info.name}, not {quote(text)}"
        )
    return tuple(offsets)


def _read_shard(shard: Shard, info: TensorInfo) -> torch.Tensor:
    return shard.read(info).view(info.shape)
