"""Saves a model that `fully_shard` (FSDP2) has sharded. No rank ever has more than one whole tensor."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from pare_llm.checkpoints.remote import as_path
from pare_llm.checkpoints.shard import safetensors_dtype
from pare_llm.layers.unwrap import is_peft_model, unwrap, wrapped_models
from pare_llm.pruning.files import TensorToWrite, write_atomically, write_safetensors
from pare_llm.pruning.folder.output_files import require_no_checkpoint, weights_file, write_index
from pare_llm.pruning.ranks import Ranks, assign_owners

if TYPE_CHECKING:
    import torch.distributed as dist


def save_sharded(model: nn.Module, folder: str | Path, *, group: dist.ProcessGroup | None = None) -> None:
    """Write a sharded model as a checkpoint that transformers loads, without gathering the model.

    Every rank of the model calls this function. Each tensor belongs to one rank, so that all ranks write
    about the same number of bytes. The other ranks send their shards to this rank, which writes the tensor to
    its own file before it receives the next one. A rank therefore needs memory for one tensor besides its
    shards. Tensors that are not sharded are written without communication. At the end, rank 0 writes the
    index, so a folder with an index is complete.

    The tensors have their names in the model. In Mixtral, for example, all experts of a block are one tensor.
    transformers and `prune_folder` read this, but programs that expect the names of `save_pretrained` do not.

    Args:
        model: a model under FSDP2, also with replicas. Any other model works too.
        folder: a folder that all ranks see, on a network file system or in an object store.
        group: the process group of all ranks that have shards. By default all ranks.

    Raises:
        FileExistsError: if there is a checkpoint in `folder`.
        ValueError: if a tensor has a dtype that safetensors files cannot have, or shards outside of `group`.
        TypeError: if the model is wrapped in FSDP1, or in peft, whose adapters have to be merged first.
        RuntimeError: if another rank failed. The message names the rank and its error.
    """
    if any(map(is_peft_model, wrapped_models(model))):
        raise TypeError("model: has adapters of peft; merge them before the model is saved")
    network, out, ranks = unwrap(model), as_path(folder), Ranks(group)

    def prepare() -> None:
        if ranks.index == 0:
            require_no_checkpoint(out)
        out.mkdir(parents=True, exist_ok=True)

    ranks.together(prepare)
    tensors = _stored_tensors(network)
    owners = assign_owners({name: _bytes(values) for name, values in tensors.items()}, ranks.count)
    writers = sorted(set(owners.values()))
    names = {rank: weights_file(index, len(writers)) for index, rank in enumerate(writers)}
    exchange = _Exchange(tensors, owners, ranks)

    def write() -> None:
        try:
            if ranks.index in names:
                write_safetensors(out / names[ranks.index], exchange.own_tensors())
        finally:
            exchange.finish()  # the other ranks wait for the shards of this one, even if its disk is full

    ranks.together(write)

    def finish() -> None:
        if ranks.index == 0:
            _save_configuration(network, out)
            sizes = {name: _bytes(values) for name, values in tensors.items()}
            write_index(out, sizes, {name: names[owner] for name, owner in owners.items()})

    ranks.together(finish)


def _stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers to store. A tensor with several names has the first of them."""
    names: dict[int, str] = {}
    state = network.state_dict(keep_vars=True)
    for name, values in state.items():
        names.setdefault(id(values), name)
    return {name: state[name] for name in names.values()}


def _bytes(values: Tensor) -> int:
    return values.numel() * values.element_size()


# The first index and the length of a shard in each dimension of the whole tensor.
_Place = tuple[tuple[int, int], ...]


class _Exchange:
    """Sends the shards of one tensor after the other to the owner of the tensor.

    All ranks go through the tensors in the same order, so that each shard that is sent is also received.
    """

    def __init__(self, tensors: Mapping[str, Tensor], owners: Mapping[str, int], ranks: Ranks) -> None:
        """Exchange the places of all shards. Every rank has to call this function."""
        self._tensors = tensors
        self._owners = owners
        self._ranks = ranks
        self._places = ranks.collect(
            {name: _place(values) for name, values in tensors.items() if isinstance(values, DTensor)}
        )
        for name in self._places[0]:
            found = sum(math.prod(n for _, n in place) for place in self._senders(name).values())
            if found != tensors[name].numel():
                raise ValueError(
                    f"{name}: the ranks of the group have {found} of its {tensors[name].numel()} entries"
                )
        self._remaining: Iterator[str] = iter(tensors)

    def own_tensors(self) -> dict[str, TensorToWrite]:
        """Return the tensors of this rank, which have to be read in this order."""
        return {
            name: TensorToWrite(
                safetensors_dtype(values.dtype, name),
                tuple(values.shape),
                _bytes(values),
                partial(self._read, name),
            )
            for name, values in self._tensors.items()
            if self._owners[name] == self._ranks.index
        }

    def finish(self) -> None:
        """Send the remaining shards, and drop the received shards that this rank has not read."""
        for name in self._remaining:
            self._move(name)

    def _read(self, name: str) -> Tensor:
        """Return a tensor of this rank, after sending the shards of the tensors before it."""
        for other in self._remaining:
            values = self._move(other)
            if other == name:
                return values
        raise KeyError(f"{name}: was read before")

    def _move(self, name: str) -> Tensor:
        """Send the shard of this rank, or return the whole tensor on the owner of the tensor."""
        values, owner = self._tensors[name].detach(), self._owners[name]
        if not isinstance(values, DTensor):
            return values
        senders = self._senders(name)
        if self._ranks.index != owner:
            if self._ranks.index in senders:
                self._ranks.send(values.to_local(), owner)
            return values
        whole = torch.empty(values.shape, dtype=values.dtype)
        for rank, place in senders.items():
            lengths = [length for _, length in place]
            # The shard has no name, so that it is freed before the next one is received.
            whole[tuple(slice(first, first + length) for first, length in place)] = (
                values.to_local() if rank == owner else self._ranks.receive(lengths, values.dtype, rank)
            )
        return whole

    def _senders(self, name: str) -> dict[int, _Place]:
        """Return one rank for each place of the tensor, with the place. The owner is preferred."""
        owner = self._owners[name]
        places = {rank: found for rank, each in enumerate(self._places) if (found := each[name]) is not None}
        ranks: dict[_Place, int] = {}
        for rank in sorted(places, key=lambda rank: rank != owner):
            ranks.setdefault(places[rank], rank)
        return {rank: place for place, rank in ranks.items()}


def _place(values: DTensor) -> _Place | None:
    """Return the place of this rank's shard in the tensor, or None if the shard is empty."""
    shape, offset = compute_local_shape_and_global_offset(values.shape, values.device_mesh, values.placements)
    return tuple(zip(offset, shape, strict=True)) if all(shape) else None


def _save_configuration(network: Any, folder: Path) -> None:
    """Write `config.json` and `generation_config.json` as transformers does, if the model comes from it."""
    if not hasattr(getattr(network, "config", None), "save_pretrained"):
        return
    config = copy.deepcopy(network.config)
    config.dtype = network.dtype
    config.architectures = [type(network).__name__.removeprefix("FSDP")]
    # The folder may be in an object store, to which transformers does not write.
    with tempfile.TemporaryDirectory() as local:
        config.save_pretrained(local)
        if getattr(network, "generation_config", None) is not None:
            network.generation_config.save_pretrained(local)
        for path in Path(local).iterdir():
            write_atomically(folder / path.name, path.read_bytes())
