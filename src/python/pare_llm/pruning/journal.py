"""The journal of a run: the finished layers on the disk, with which a run that was stopped continues.

    FOLDER/journal.json  the fingerprint of the run; the sparsities that `allocate=` chose; for each layer,
                         its report and the digest of its file; the same for each reconstructed block
    FOLDER/layers/       one safetensors file per finished layer, with its `weight` (out, in)
    FOLDER/blocks/       one safetensors file per reconstructed block, with its trained parameters
    FOLDER/lock          locked while a process works on the run

A file is written before `journal.json` names it. A file whose digest is wrong is ignored, so that its layer
is pruned again, or its block reconstructed again. A `journal.json` that is damaged or belongs to another run
is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote

import safetensors
import safetensors.torch
from torch import Tensor

from pare_llm.pruning.files import write_atomically
from pare_llm.pruning.fingerprint import Fingerprint, differences
from pare_llm.pruning.prune_report import Allocation, LayerResult, Reconstruction

if TYPE_CHECKING:
    from pare_llm.client.answers import Report

_FORMAT = 1
_READ_BYTES = 1 << 20


class JournalEntry(TypedDict):
    """What the journal says about a finished layer."""

    sha256: str
    """The digest of the file with the weight, in hexadecimal."""
    report: Report
    seconds: float
    """The seconds that the host took for the layer."""
    calibration_seconds: float
    """The seconds of calibration before the layer."""
    tokens: int | None
    """The number of tokens that reached an expert. None for other layers."""


class BlockEntry(TypedDict):
    """What the journal says about a reconstructed block."""

    sha256: str
    """The digest of the file with the trained parameters, in hexadecimal."""
    reconstruction: dict[str, Any]
    """The fields of `Reconstruction`."""


class Journal:
    """An open journal. Use it in a `with` statement."""

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        """Open the journal in `folder`, or create it.

        Raises a ValueError if it is damaged, or if its fingerprint differs, which the message explains, and a
        RuntimeError if another process works on the run.
        """
        self._folder = folder
        self._fingerprint = dict(fingerprint)
        self._entries: dict[str, JournalEntry] = {}
        self._blocks: dict[str, BlockEntry] = {}
        self.resumed = 0
        """How often the run was continued."""
        self.allocation: Allocation | None = None
        """The sparsities that the run has chosen for its layers."""
        for files in ("layers", "blocks"):
            (folder / files).mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder)
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def finished(self, names: list[str]) -> dict[str, JournalEntry]:
        """Return the entries of those layers that are finished and whose files are intact."""
        return {
            name: entry
            for name in names
            if (entry := self._entries.get(name)) and self._is_intact("layers", name, entry["sha256"])
        }

    def read(self, name: str) -> Tensor:
        """Read the weight of a finished layer. Raise a ValueError if its file is damaged."""
        return self._load("layers", name, self._entries[name]["sha256"])["weight"]

    def has_block(self, name: str) -> bool:
        """Return whether a block was reconstructed and its file is intact."""
        entry = self._blocks.get(name)
        return entry is not None and self._is_intact("blocks", name, entry["sha256"])

    def read_block(self, name: str) -> tuple[Reconstruction, dict[str, Tensor]]:
        """Read a reconstructed block and its trained parameters. Raise a ValueError if they are damaged."""
        entry = self._blocks[name]
        return Reconstruction(**entry["reconstruction"]), self._load("blocks", name, entry["sha256"])

    def record(self, weight: Tensor, layer: LayerResult) -> None:
        """Write a finished layer. When the method returns, the layer is on the disk."""
        self._entries[layer.name] = JournalEntry(
            sha256=self._save("layers", layer.name, {"weight": weight}),
            report=layer.report,
            seconds=layer.seconds,
            calibration_seconds=layer.calibration_seconds,
            tokens=layer.tokens,
        )
        self._write()

    def record_block(self, name: str, values: Mapping[str, Tensor], reconstruction: Reconstruction) -> None:
        """Write the trained parameters of a block. When the method returns, they are on the disk."""
        digest = self._save("blocks", name, values)
        self._blocks[name] = BlockEntry(sha256=digest, reconstruction=asdict(reconstruction))
        self._write()

    def record_allocation(self, allocation: Allocation) -> None:
        """Write the sparsities of the layers."""
        self.allocation = allocation
        self._write()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        """Let other processes open the journal."""
        self._lock.release()

    @property
    def _path(self) -> Path:
        return self._folder / "journal.json"

    def _file(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{quote(name, safe='')}.safetensors"

    def _save(self, kind: str, name: str, tensors: Mapping[str, Tensor]) -> str:
        """Write the file of a layer or a block, and return its digest."""
        on_cpu = {key: values.detach().cpu().contiguous() for key, values in tensors.items()}
        content = safetensors.torch.save(on_cpu)
        write_atomically(self._file(kind, name), content)
        return hashlib.sha256(content).hexdigest()

    def _load(self, kind: str, name: str, digest: str) -> dict[str, Tensor]:
        content = self._file(kind, name).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"{self._file(kind, name)}: has changed since its digest was checked")
        return safetensors.torch.load(content)

    def _is_intact(self, kind: str, name: str, digest: str) -> bool:
        return _file_digest(self._file(kind, name)) == digest

    def _open(self) -> None:
        if self._path.exists():
            stored = _parse(self._path)
            changes = differences(stored["fingerprint"], self._fingerprint)
            if changes:
                raise ValueError(
                    f"{self._folder}: is the journal of another run: {'; '.join(changes)}. "
                    "Repeat the run with the same arguments, or use another folder"
                )
            self._entries = stored["layers"]
            self._blocks = stored.get("blocks", {})
            self.resumed = stored["resumed"] + 1
            if allocation := stored.get("allocation"):
                self.allocation = Allocation(**allocation)
        self._write()

    def _write(self) -> None:
        content: dict[str, Any] = {
            "format": _FORMAT,
            "fingerprint": self._fingerprint,
            "resumed": self.resumed,
            "layers": self._entries,
            "blocks": self._blocks,
            "allocation": asdict(self.allocation) if self.allocation else None,
        }
        text = json.dumps({"sha256": _content_digest(content), **content}, indent=1)
        write_atomically(self._path, text.encode())


def _parse(path: Path) -> dict[str, Any]:
    """Read `journal.json`. Raises ValueError if it is damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        digest = content.pop("sha256")
        is_intact = digest == _content_digest(content) and content["format"] == _FORMAT
    except (ValueError, KeyError, AttributeError, TypeError):
        is_intact = False
    if not is_intact:
        raise ValueError(
            f"{path}: is damaged or was not written by pare_llm; delete the folder to start over"
        )
    return content


def _content_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str | None:
    """Return the digest of a file, or None if it does not exist."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """A lock that the operating system releases when the process ends. Without `fcntl`, nothing is locked."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raise a RuntimeError if another process has it."""
        self._file = (folder / "lock").open("w")
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RuntimeError(f"{folder}: another process is working on the run of this journal") from None

    def release(self) -> None:
        """Release the lock. Idempotent."""
        self._file.close()
