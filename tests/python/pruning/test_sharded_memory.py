"""Pruning and saving a sharded model of 77 million parameters: what four ranks gather and receive."""

import gc
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from block_memory import TensorCounter
from pare_llm import PrunedLayer, prune_, save_sharded
from pare_llm.pruning.calibration.hidden_states import HiddenStates
from pruning_support import solve_report
from ranks import run_on_ranks
from torch import Tensor
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

RANKS, BLOCKS = 4, 4

CONFIG = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "vocab_size": 32000,
}


class HalfClient:
    """Sets the smaller half of each row to zero, and drops the statistics."""

    def __init__(self, counter: TensorCounter) -> None:
        """Count tensors at each request."""
        self._counter = counter

    def prune_layer(self, weight: Tensor, *, method: str, **_: Any) -> PrunedLayer[Tensor]:
        self._counter.count()
        mask = weight.abs() > weight.abs().kthvalue(weight.shape[1] // 2, dim=1, keepdim=True).values
        report = solve_report(weight, zeros=int((~mask).sum()), method=method)
        return PrunedLayer(weight=weight * mask, mask=mask, quantized=None, report=report)

    def put_hessian(self, *_: Tensor | None) -> str:
        return "sha256:0"

    def delete_hessian(self, digest: str) -> None:
        pass


class Traffic(TorchDispatchMode):
    """Counts the bytes of the tensors that a rank sends and receives, by the name of the operation."""

    def __init__(self) -> None:
        super().__init__()
        self.total: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            name = func.__name__.partition(".")[0]
            size = sum(each.nbytes for each in torch.utils._pytree.tree_leaves(args[0]))
            self.total[name] += size
            self.largest[name] = max(self.largest[name], size)
        return func(*args, **(kwargs or {}))


def sharded_model() -> Any:
    """Return a model with random weights, of which this rank never has more than its shards."""
    torch.manual_seed(dist.get_rank())
    config = transformers.LlamaConfig(**CONFIG, tie_word_embeddings=False)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    for block in model.model.layers:
        fully_shard(block)
    fully_shard(model)  # the embeddings, the last norm and the output head, as one group
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.detach().to_local().normal_(std=0.02)
    model.model.rotary_emb = LlamaRotaryEmbedding(config)
    return model


def digest(values: Tensor) -> str:
    return hashlib.sha256(values.detach().contiguous().numpy().tobytes()).hexdigest()


def prune_and_save(folder: Path) -> dict[str, Any]:
    """Return the most bytes that were alive, gathered or received at a time on this rank."""
    gc.collect()
    gc.freeze()  # the shards are made after it, so they are counted
    model = sharded_model()
    batches = [torch.randint(32000, (2, 64)) for _ in range(2)]
    pruning, saving = TensorCounter(), TensorCounter()
    modules = list(model.modules())
    gathered = []
    gather = DTensor.full_tensor

    def counting(shard: DTensor) -> Tensor:
        values = gather(shard)
        whole = [p for module in modules for p in module.parameters(False) if not isinstance(p, DTensor)]
        gathered.append(sum(each.nbytes for each in [values, *whole]))
        pruning.count()
        return values

    outputs = HiddenStates.outputs

    def counting_outputs(*args: Any) -> Tensor:
        values = outputs(*args)
        pruning.count()  # the block is still gathered, and its Hessians are recorded
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DTensor, "full_tensor", counting)
        patch.setattr(HiddenStates, "outputs", counting_outputs)
        report = prune_(model, batches, HalfClient(pruning), method="wanda", validation=0, progress=False)
    assert report.zeros == report.entries // 2
    gc.collect()
    gc.freeze()
    allocate = torch.empty

    def counting_empty(*args: Any, **options: Any) -> Tensor:
        values = allocate(*args, **options)
        saving.count()
        return values

    with Traffic() as traffic, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", counting_empty)
        save_sharded(model, folder)
    return {
        "gathered": max(gathered),  # parameters, and the rows of the embeddings that a batch looks up
        "pruning": pruning.peak,  # all tensors, with the shards
        "states": sum(each.numel() for each in batches) * CONFIG["hidden_size"] * 4,
        "saving": saving.peak,
        "total": traffic.total,
        "largest": traffic.largest,
        "shards": {name: digest(values.to_local()) for name, values in model.named_parameters()},
    }


def test_no_rank_gathers_more_than_a_block_or_receives_more_than_it_writes(tmp_path: Path) -> None:
    folder = tmp_path / "pruned"
    results = run_on_ranks(prune_and_save, RANKS, folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    whole = sum(parameter.nbytes for parameter in model.parameters())
    assert whole >= 4 * 75e6
    block = sum(parameter.nbytes for parameter in model.model.layers[0].parameters())
    embeddings = model.lm_head.weight.nbytes
    hessians = 4 * (3 * CONFIG["hidden_size"] ** 2 + CONFIG["intermediate_size"] ** 2)
    files = sorted(folder.glob("*.safetensors"))
    for rank, (result, file) in enumerate(zip(results, files, strict=True)):
        assert result["gathered"] == block
        # A rank holds its share, one block, the Hessians of its four inputs, and the hidden states of all
        # batches, which are embedded or advanced one at a time.
        assert result["pruning"] <= whole / RANKS + block + hessians + 2 * result["states"] + 1e6
        # Three quarters of each tensor come from the other ranks, in messages of at most one shard.
        assert result["total"]["recv_"] < 0.76 * file.stat().st_size
        assert max(result["largest"].values()) <= embeddings // RANKS
        # The whole tensor, one shard that was received, and the own shard, which exists anyway.
        assert result["saving"] <= embeddings * (1 + 2 / RANKS) + 1e6
        assert not {name for name in result["total"] if "allgather" in name and result["largest"][name] > 1e6}
        for name, values in model.named_parameters():
            assert digest(values.chunk(RANKS)[rank]) == result["shards"][name], name
