"""The safetensors files of a checkpoint in Hugging Face's format."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from safetensors import safe_open

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_LENGTH_BYTES = 8
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    file: Path
    dtype: str
    """The dtype by its name in safetensors files, such as `BF16`."""
    shape: tuple[int, ...]
    bytes: int

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The dtype. None if it is not a floating-point dtype of torch."""
        return _DTYPES.get(self.dtype)


class CheckpointFiles:
    """The tensors of a checkpoint. The files are opened only while a tensor is read."""

    def __init__(self, folder: Path) -> None:
        """Read the headers of the files.

        Raises:
            FileNotFoundError: if the folder has neither `model.safetensors` nor an index of its shards.
        """
        self.folder = folder
        self._headers: dict[str, bytes] = {}
        self.tensors: dict[str, StoredTensor] = {}
        """The tensors by name, in the order of the files."""
        for name in _weight_files(folder):
            path = folder / name
            self._headers[name] = _header(path)
            for tensor, entry in json.loads(self._headers[name]).items():
                if tensor != "__metadata__":
                    begin, end = entry["data_offsets"]
                    stored = StoredTensor(path, entry["dtype"], tuple(entry["shape"]), end - begin)
                    self.tensors[tensor] = stored

    def read(self, name: str) -> torch.Tensor:
        """Return a copy of a tensor, which does not keep its file open."""
        with safe_open(self.tensors[name].file, framework="pt") as file:
            values: torch.Tensor = file.get_tensor(name)
            return values.clone()

    def fingerprint(self) -> str:
        """Return a digest of the configuration, and of the name, size, time and header of each file.

        The values are left out, because reading them would take as long as pruning.
        """
        digest = hashlib.sha256((self.folder / "config.json").read_bytes())
        for name, header in self._headers.items():
            status = (self.folder / name).stat()
            digest.update(f"{name}:{status.st_size}:{status.st_mtime_ns};".encode())
            digest.update(header)
        return f"sha256:{digest.hexdigest()}"

    def name_of(self, parameter: str, base_prefix: str) -> str | None:
        """Return the stored name of a parameter, or None if it is not stored.

        Some checkpoints have the prefix of the base model, such as `transformer.`, and some have not.
        """
        prefix = f"{base_prefix}."
        candidates = (parameter, parameter.removeprefix(prefix), prefix + parameter)
        return next((name for name in candidates if name in self.tensors), None)


def _weight_files(folder: Path) -> list[str]:
    if (folder / INDEX_FILE).exists():
        index: dict[str, Any] = json.loads((folder / INDEX_FILE).read_text())
        return sorted(set(index["weight_map"].values()))
    if (folder / WEIGHTS_FILE).exists():
        return [WEIGHTS_FILE]
    raise FileNotFoundError(f"{folder}: has neither {WEIGHTS_FILE} nor {INDEX_FILE}")


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return file.read(length)
