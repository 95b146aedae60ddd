"""Writes a checkpoint with replaced weights, one file per block, without having it in memory."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from pare_llm.checkpoints.distributed import METADATA_FILE, has_pieces
from pare_llm.checkpoints.folder import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, CheckpointFolder
from pare_llm.checkpoints.remote import PIECE_BYTES
from pare_llm.checkpoints.shard import open_file
from pare_llm.pruning.files import TensorToWrite, atomic_file, write_atomically, write_safetensors
from pare_llm.pruning.prune_report import REPORT_FILE

# Weights and reports are not copied from the dense checkpoint.
_NOT_COPIED = {INDEX_FILE, REPORT_FILE, "report.html", METADATA_FILE}
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".distcp"}

# The most files and folders of a checkpoint.
_MAX_ENTRIES = 10_000


def require_no_checkpoint(out: Path) -> None:
    """Raise a FileExistsError if there is a checkpoint in the folder."""
    if has_pieces(out) or any((out / name).exists() for name in (INDEX_FILE, WEIGHTS_FILE)):
        raise FileExistsError(f"{out}: already has a checkpoint; write to another folder")


def weights_file(index: int, count: int) -> str:
    """Return the name of one of `count` weight files, which begin at 0."""
    return f"model-{index + 1:05}-of-{count:05}.safetensors"


def write_index(out: Path, sizes: Mapping[str, int], files: Mapping[str, str]) -> None:
    """Write the index for the sizes of all tensors in bytes, and for their files.

    It must be the last file, because a folder with an index is complete.
    """
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(files)}
    write_atomically(out / INDEX_FILE, json.dumps(index, indent=2).encode())


class OutputFiles:
    """The files of a new checkpoint. Every file is written completely or not at all."""

    def __init__(self, source: CheckpointFolder, out: Path, blocks: Sequence[Sequence[str]]) -> None:
        """Plan a file for each block, and files of at most that size for the tensors outside of `blocks`.

        Tensors that are not replaced are copied from `source`. A checkpoint in `out` raises FileExistsError.
        """
        require_no_checkpoint(out)
        out.mkdir(parents=True, exist_ok=True)
        self._source = source
        self._out = out
        self._files = [*map(list, blocks), *_other_files(source, blocks)]
        self._written: set[int] = set()

    def write_block(self, block: int, replaced: Mapping[str, Tensor]) -> None:
        """Write the file of a block, with the new tensors by their stored names, in the stored dtype."""
        self._write(block, replaced)

    def write_rest(self) -> None:
        """Write the tensors outside of the blocks, and copy the other files of the checkpoint."""
        for file in range(len(self._files)):
            if file not in self._written:
                self._write(file, {})
        for path, name in _list_files(self._source.path, self._out):
            if path.suffix not in _WEIGHT_SUFFIXES and name not in _NOT_COPIED:
                (self._out / name).parent.mkdir(parents=True, exist_ok=True)
                with open_file(path) as source, atomic_file(self._out / name) as copy:
                    shutil.copyfileobj(source, copy, PIECE_BYTES)

    def write_index(self) -> None:
        """Write the index, which makes the folder complete."""
        files = {name: self._name(file) for file, names in enumerate(self._files) for name in names}
        write_index(self._out, {name: self._source.info(name).bytes for name in files}, files)

    def _name(self, file: int) -> str:
        return weights_file(file, len(self._files))

    def _write(self, file: int, replaced: Mapping[str, Tensor]) -> None:
        tensors: dict[str, TensorToWrite] = {}
        for name in self._files[file]:
            stored = self._source.info(name)
            read = partial(replaced.__getitem__ if name in replaced else self._source.read, name)
            tensors[name] = TensorToWrite(stored.dtype, stored.shape, stored.bytes, read)
        write_safetensors(self._out / self._name(file), tensors)
        self._written.add(file)


def _list_files(folder: Path, out: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files in a checkpoint and in its folders, each with its path in the checkpoint.

    Links to folders are not followed. Hidden folders, `out`, and checkpoints of their own are left out.
    """
    waiting = [(folder, "")]
    entries = 0
    for inside, prefix in waiting:
        for path in inside.iterdir():
            entries += 1
            if entries > _MAX_ENTRIES:
                raise ValueError(
                    f"{folder}: has more than {_MAX_ENTRIES} files and folders; move out what does not "
                    "belong to the model"
                )
            if path.is_file():
                yield path, prefix + path.name
                continue
            is_left_out = path.is_symlink() or path.name.startswith(".") or path.absolute() == out.absolute()
            if not is_left_out and not (path / CONFIG_FILE).exists():
                waiting.append((path, f"{prefix}{path.name}/"))


def _other_files(source: CheckpointFolder, blocks: Sequence[Sequence[str]]) -> list[list[str]]:
    """Divide the tensors outside of the blocks into files of at most the size of the largest block.

    A larger tensor has a file of its own.
    """
    in_blocks = {name for names in blocks for name in names}
    limit = max(sum(source.info(name).bytes for name in names) for names in blocks)
    files: list[list[str]] = []
    filled = limit
    for name in source.names():
        if name in in_blocks:
            continue
        size = source.info(name).bytes
        if filled + size > limit:
            files.append([])
            filled = 0
        files[-1].append(name)
        filled += size
    return files
