"""The journal of a run: the finished layers on the disk, with which a run that was stopped continues.

    FOLDER/journal.jsonl  one JSON object per line: first the fingerprint of the run, then one for each start
                          of a process, for the sparsities that `allocate=` chose, and for each finished layer
                          or reconstructed block, with its report and the digest of its file
    FOLDER/layers/        one safetensors file per finished layer, with its `weight` (out, in)
    FOLDER/blocks/        one safetensors file per reconstructed block, with its trained parameters
    FOLDER/lock           locked while a process works on the run

A line is appended after its file is on the disk, so the time for a layer does not depend on the number of
layers before it. The member `chain` of a line is a digest of this line and of all lines before it. A last
line without a line break, which a killed process leaves, is removed. A file whose digest is wrong is ignored,
so that its layer is pruned again, or its block reconstructed again. A journal that is otherwise damaged, was
written by an earlier version, or belongs to another run is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict
from urllib.parse import quote

import safetensors
import safetensors.torch
from torch import Tensor

from pare_llm.pruning.files import write_atomically
from pare_llm.pruning.fingerprint import Fingerprint, differences
from pare_llm.pruning.prune_report import Allocation, LayerResult, Reconstruction

if TYPE_CHECKING:
    from pare_llm.client.answers import Report

_FORMAT = 2
_READ_BYTES = 1 << 20


class JournalEntry(TypedDict):
    """The facts that the journal has about a finished layer."""

    sha256: str
    """The digest of the file with the weight, in hexadecimal."""
    report: Report
    seconds: float
    """The seconds that the host took for the layer."""
    calibration_seconds: float
    """The seconds of calibration before the layer."""
    tokens: int | None
    """The number of tokens that reached an expert. None for other layers."""


class Journal:
    """An open journal. Use it in a `with` statement."""

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        """Open the journal in `folder`, or create it.

        Raises a ValueError if it is damaged, or if its fingerprint differs, which the message explains, and a
        RuntimeError if another process works on the run.
        """
        self._folder = folder
        self._chain = ""
        # The lines about layers and blocks, by the folder of their files and by name.
        self._entries: dict[str, dict[str, Any]] = {"layers": {}, "blocks": {}}
        self.resumed = 0
        """How often the run was continued."""
        self.allocation: Allocation | None = None
        """The sparsities that the run has chosen for its layers."""
        for files in self._entries:
            (folder / files).mkdir(parents=True, exist_ok=True)
        self._resources = ExitStack()
        self._resources.enter_context(_lock(folder))
        try:
            self._open({"format": _FORMAT, "fingerprint": dict(fingerprint)})
        except BaseException:
            self._resources.close()
            raise

    def finished(self, names: list[str]) -> dict[str, JournalEntry]:
        """Return the entries of finished layers whose files are intact."""
        return {name: self._entries["layers"][name] for name in names if self._is_intact("layers", name)}

    def read(self, name: str) -> Tensor:
        """Read the weight of a finished layer. Raise a ValueError if its file is damaged."""
        return self._load("layers", name)["weight"]

    def has_block(self, name: str) -> bool:
        """Return whether a block was reconstructed and its file is intact."""
        return self._is_intact("blocks", name)

    def read_block(self, name: str) -> tuple[Reconstruction, dict[str, Tensor]]:
        """Read a reconstructed block and its trained parameters. Raise a ValueError if they are damaged."""
        entry = self._entries["blocks"][name]
        return Reconstruction(**entry["reconstruction"]), self._load("blocks", name)

    def record(self, weight: Tensor, layer: LayerResult) -> None:
        """Write a finished layer. When the method returns, the layer is on the disk."""
        entry = JournalEntry(
            sha256=self._save("layers", layer.name, {"weight": weight}),
            report=layer.report,
            seconds=layer.seconds,
            calibration_seconds=layer.calibration_seconds,
            tokens=layer.tokens,
        )
        self._append({"layer": layer.name, **entry})

    def record_block(self, name: str, values: Mapping[str, Tensor], reconstruction: Reconstruction) -> None:
        """Write the trained parameters of a block. When the method returns, they are on the disk."""
        digest = self._save("blocks", name, values)
        self._append({"block": name, "sha256": digest, "reconstruction": asdict(reconstruction)})

    def record_allocation(self, allocation: Allocation) -> None:
        """Write the sparsities of the layers."""
        self._append({"allocation": asdict(allocation)})

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        """Let other processes open the journal."""
        self._resources.close()

    @property
    def _path(self) -> Path:
        return self._folder / "journal.jsonl"

    def _file(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{quote(name, safe='')}.safetensors"

    def _save(self, kind: str, name: str, tensors: Mapping[str, Tensor]) -> str:
        """Write the file of a layer or a block, and return its digest."""
        on_cpu = {key: values.detach().cpu().contiguous() for key, values in tensors.items()}
        content = safetensors.torch.save(on_cpu)
        write_atomically(self._file(kind, name), content)
        return hashlib.sha256(content).hexdigest()

    def _load(self, kind: str, name: str) -> dict[str, Tensor]:
        content = self._file(kind, name).read_bytes()
        if hashlib.sha256(content).hexdigest() != self._entries[kind][name]["sha256"]:
            raise ValueError(f"{self._file(kind, name)}: has changed since its digest was checked")
        return safetensors.torch.load(content)

    def _is_intact(self, kind: str, name: str) -> bool:
        entry = self._entries[kind].get(name)
        return entry is not None and _file_digest(self._file(kind, name)) == entry["sha256"]

    def _open(self, head: dict[str, Any]) -> None:
        """Read the lines of earlier processes, and open the file for more of them."""
        if (self._folder / "journal.json").exists():
            raise ValueError(
                f"{self._folder}: has the journal of an earlier version of pare_llm; use another folder"
            )
        if not self._path.exists():
            write_atomically(self._path, b"")
        self._log = self._resources.enter_context(self._path.open("r+b"))
        entries = list(self._read_lines())
        if not entries:
            self._append(head)
            return
        if changes := differences(entries[0]["fingerprint"], head["fingerprint"]):
            raise ValueError(
                f"{self._folder}: is the journal of another run: {'; '.join(changes)}. "
                "Repeat the run with the same arguments, or use another folder"
            )
        for entry in entries[1:]:
            self._take(entry)
        self._append({"start": self.resumed + 1})

    def _read_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of all lines, and remove an incomplete last line."""
        for number, line in enumerate(self._log, 1):
            if not line.endswith(b"\n"):
                self._log.seek(-len(line), os.SEEK_END)
                self._log.truncate()
                return
            try:
                entry: dict[str, Any] = json.loads(line)
                chain = entry.pop("chain")
                is_intact = chain == self._next_chain(entry) and (number > 1 or entry["format"] == _FORMAT)
            except (ValueError, KeyError, AttributeError, TypeError):
                is_intact = False
            if not is_intact:
                raise ValueError(
                    f"{self._path}: line {number} is damaged or was not written by pare_llm; delete the "
                    "folder to start over"
                )
            self._chain = chain
            yield entry

    def _take(self, entry: dict[str, Any]) -> None:
        """Take over what a line records."""
        if "layer" in entry:
            self._entries["layers"][entry.pop("layer")] = entry
        elif "block" in entry:
            self._entries["blocks"][entry.pop("block")] = entry
        elif "allocation" in entry:
            self.allocation = Allocation(**entry["allocation"])
        else:
            self.resumed = entry["start"]

    def _append(self, entry: dict[str, Any]) -> None:
        """Write a line. When the method returns, the line is on the disk."""
        self._chain = self._next_chain(entry)
        self._log.write(json.dumps({**entry, "chain": self._chain}).encode() + b"\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        if "format" not in entry:
            self._take(entry)

    def _next_chain(self, entry: Mapping[str, Any]) -> str:
        return hashlib.sha256(f"{self._chain}{json.dumps(entry, sort_keys=True)}".encode()).hexdigest()


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


def _lock(folder: Path) -> BinaryIO:
    """Lock a folder until the file is closed, or until the process ends. Without `fcntl`, do nothing.

    Raise a RuntimeError if another process has the lock.
    """
    file = (folder / "lock").open("wb")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RuntimeError(f"{folder}: another process is working on the run of this journal") from None
    return file
