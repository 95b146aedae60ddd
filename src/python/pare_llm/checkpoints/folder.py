"""Opens the folder of a checkpoint: finds its weight files and reads its config.json."""

import difflib
import json
from pathlib import Path
from typing import Any

import torch

from pare_llm.checkpoints.distributed import METADATA_FILE, DistributedTensors, has_pieces
from pare_llm.checkpoints.header import TensorInfo, quote
from pare_llm.checkpoints.shard import Shard, open_file

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


class CheckpointFolder:
    """The stored tensors of a checkpoint, as they are in the files, and its configuration."""

    def __init__(self, path: Path) -> None:
        """Open the files. Raises FileNotFoundError if one is missing, and ValueError if one is malformed."""
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: there is no such folder")
        self.path = path
        self.config = read_json_object(path / CONFIG_FILE)
        self._tensors: dict[str, tuple[Shard | DistributedTensors, TensorInfo]] = {}
        listed = _listed_tensors(path)
        if listed is None:
            self._add(DistributedTensors(path))
            return
        for name in sorted(set(listed.values())) if listed else [WEIGHTS_FILE]:
            self._add(Shard(path / name))
        missing = next((name for name in listed if name not in self._tensors), None)
        if missing is not None:
            raise ValueError(
                f"{path}: {INDEX_FILE} lists the tensor {quote(missing)}, but no weight file has it"
            )

    def _add(self, shard: Shard | DistributedTensors) -> None:
        for info in shard.tensors:
            if info.name in self._tensors:
                other = self._tensors[info.name][0].path.name
                raise ValueError(
                    f"{self.path}: {other} and {shard.path.name} both have the tensor {info.name}"
                )
            self._tensors[info.name] = (shard, info)

    def __contains__(self, name: str) -> bool:
        """Whether a weight file has the tensor."""
        return name in self._tensors

    def names(self) -> list[str]:
        """Return the names of the tensors, file by file, in the order of their data."""
        return list(self._tensors)

    def info(self, name: str) -> TensorInfo:
        """Return the dtype and the shape of a tensor. Raises ValueError if there is none."""
        if name in self._tensors:
            return self._tensors[name][1]
        raise ValueError(f"{self.path}: has no tensor {name}{nearest(name, self._tensors)}")

    def files(self) -> list[Path]:
        """Return the paths of the weight files that have tensors."""
        return list(dict.fromkeys(path for shard, _ in self._tensors.values() for path in shard.files))

    def read(self, name: str, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Read elements of a tensor as `Shard.read` does."""
        info = self.info(name)
        return self._tensors[name][0].read(info, first, count)

    def close(self) -> None:
        """Close the weight files."""
        for shard, _ in self._tensors.values():
            shard.close()


def nearest(name: str, names: Any) -> str:
    """Return a hint with the most similar name, or an empty string if no name is similar."""
    matches = difflib.get_close_matches(name[:200], [other for other in names if len(other) <= 200], 1)
    return f"; the nearest is {matches[0]}" if matches else ""


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must contain an object. Raises FileNotFoundError or ValueError."""
    try:
        with open_file(path) as file:
            content = file.readall()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent}: has no {path.name}") from None
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not valid JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must contain an object, not {quote(value)}")
    return value


def _listed_tensors(path: Path) -> dict[str, str] | None:
    """Map the tensors that the index lists to their files.

    Return an empty dict if there is only one file, and None if the checkpoint is a distributed one.
    """
    if (path / WEIGHTS_FILE).is_file():
        return {}
    if not (path / INDEX_FILE).is_file():
        if has_pieces(path):
            return None
        raise FileNotFoundError(
            f"{path}: has neither {WEIGHTS_FILE} nor {INDEX_FILE} nor {METADATA_FILE}, but weights must be "
            "safetensors or a distributed checkpoint of PyTorch"
        )
    listed = read_json_object(path / INDEX_FILE).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ValueError(
            f"{path / INDEX_FILE}: weight_map must map at least one tensor to a file, not {quote(listed)}"
        )
    files = {file.name for file in path.iterdir()}
    for file in listed.values():
        # A path to another folder is never the name of a file in this folder.
        if not isinstance(file, str) or file not in files:
            raise ValueError(
                f"{path / INDEX_FILE}: weight_map names the file {quote(file)}, which is not in the folder"
            )
    return {str(name): str(file) for name, file in listed.items()}
