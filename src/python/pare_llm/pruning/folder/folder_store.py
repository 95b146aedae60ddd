"""The parameters of a checkpoint folder. One block at a time is in memory."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.checkpoints.shard import torch_dtype
from pare_llm.pruning.folder.block_names import BlockNames, StoredPart, require_stored_name
from pare_llm.pruning.folder.output_files import OutputFiles
from pare_llm.pruning.model.blocks import Block, BlockStore


class FolderStore(BlockStore):
    """Loads the blocks of a model whose parameters are on the meta device, and writes the pruned blocks."""

    def __init__(
        self,
        model: PreTrainedModel,
        source: CheckpointFolder,
        names: Sequence[BlockNames],
        *,
        output: OutputFiles | None,
        device: torch.device,
    ) -> None:
        """Load nothing yet. `output` is None on ranks that write nothing."""
        self._model = model
        self._source = source
        self._names = names
        self._output = output
        self._device = device
        self._loaded: set[int] = set()

    def load(self, block: Block) -> None:
        if block.index in self._loaded:
            return
        state = block.module.state_dict(keep_vars=True)
        names = self._names[block.index]
        tensors = {name: self._read_parts(parts, state[name]) for name, parts in names.items()}
        block.module.load_state_dict(tensors, strict=False, assign=True)
        self._loaded.add(block.index)

    def save(self, block: Block, changed: Collection[nn.Parameter]) -> None:
        """Write the file of a block with its changed parameters, and free them all."""
        if self._output:
            state = block.module.state_dict(keep_vars=True)
            ids = {id(parameter) for parameter in changed}
            replaced = {
                part.name: part.of(state[name].detach()).to(
                    "cpu", torch_dtype(self._source.info(part.name).dtype)
                )
                for name, parts in self._names[block.index].items()
                for part in parts
                if id(state[name]) in ids
            }
            self._output.write_block(block.index, replaced)
        self.free(block)

    def free(self, block: Block) -> None:
        state = block.module.state_dict()
        # Buffers that are not stored stay, because nothing would compute them again.
        tensors = {name: state[name].to("meta") for name in self._names[block.index]}
        block.module.load_state_dict(tensors, strict=False, assign=True)
        self._loaded.discard(block.index)

    @contextmanager
    def rest_loaded(self, blocks: Sequence[Block]) -> Iterator[None]:
        """Load the parameters outside of the blocks until the context ends, without the output head."""
        in_blocks = {id(weight) for block in blocks for weight in block.module.parameters()}
        unused = in_blocks | self._head_parameters()
        replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
        for name, parameter in list(self._model.named_parameters()):
            if id(parameter) in unused:
                continue
            module_name, _, leaf = name.rpartition(".")
            module = self._model.get_submodule(module_name)
            stored = require_stored_name(self._model, self._source, name, parameter.shape)
            replaced.append((module, leaf, parameter))
            values = self._read(stored, parameter.dtype)
            setattr(module, leaf, nn.Parameter(values, requires_grad=False))
        try:
            yield
        finally:
            for module, leaf, parameter in replaced:
                setattr(module, leaf, parameter)

    def _head_parameters(self) -> set[int]:
        """Return the ids of the parameters of the output head that are not tied to the embeddings."""
        model: Any = self._model
        head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
        head_ids = {id(weight) for weight in head.parameters()} if head is not None else set()
        return head_ids - {id(weight) for weight in embeddings.parameters()}

    def _read_parts(self, parts: Sequence[StoredPart], parameter: Tensor) -> Tensor:
        """Read a parameter, which may be stored in several tensors."""
        if parts[0].layer is None:
            return self._read(parts[0].name, parameter.dtype)
        values = torch.empty(parameter.shape, dtype=parameter.dtype, device=self._device)
        for part in parts:
            part.of(values).copy_(self._read(part.name, parameter.dtype))
        return values

    def _read(self, stored: str, dtype: torch.dtype) -> Tensor:
        """Read a tensor, and convert numbers to the dtype of the model."""
        values = self._source.read(stored).view(self._source.info(stored).shape)
        return values.to(self._device, dtype if values.is_floating_point() else values.dtype)
