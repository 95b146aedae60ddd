"""Models, texts and a client without a server, for the tests of pruning."""

import functools
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from conftest import MODELS, HostProcess, run_deno, run_python
from pare_llm import PrunedLayer, PruneReport, prune_, prune_folder
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy

TOKENS = 96
"""The number of tokens that the tiny models know."""

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": TOKENS,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_NEOX_SIZES = {name: size for name, size in _SIZES.items() if name != "num_key_value_heads"}
_WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2}

TINY_CONFIGS: dict[str, dict[str, Any]] = {
    "opt": {
        **{name: size for name, size in _NEOX_SIZES.items() if name != "intermediate_size"},
        "ffn_dim": 48,
        "word_embed_proj_dim": 24,
    },
    "llama": _SIZES,
    "mistral": {**_SIZES, "head_dim": 8, "sliding_window": 8},
    "qwen2": {**_SIZES, "use_sliding_window": True, **_WINDOWS, "num_hidden_layers": 4},
    "qwen3": {**_SIZES, "head_dim": 8},
    "phi3": _SIZES,
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "vocab_size": TOKENS,
        "n_positions": 64,
        "pad_token_id": 0,
    },
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": TOKENS, "pad_token_id": 0},
    "gpt_neox": _NEOX_SIZES,
    "gemma3_text": {**_SIZES, "head_dim": 8, **_WINDOWS, "num_hidden_layers": 4},
    "granite": {**_SIZES, "residual_multiplier": 0.5},
}
"""Configurations of small models of transformers, by the type of the model.

The blocks of `qwen2` and `gemma3_text` are called with different attention masks, and those of `gemma3_text`
with different position embeddings too.
"""

_EXPERTS = {**_SIZES, "moe_intermediate_size": 24, "num_experts_per_tok": 2, "num_hidden_layers": 2}

MOE_CONFIGS: dict[str, dict[str, Any]] = {
    "mixtral": {**_EXPERTS, "num_local_experts": 4, "intermediate_size": 24},
    "qwen2_moe": {**_EXPERTS, "num_experts": 5, "shared_expert_intermediate_size": 40},
    "qwen3_moe": {**_EXPERTS, "num_experts": 5, "head_dim": 8, "norm_topk_prob": True},
    "olmoe": {**_EXPERTS, "num_experts": 4, "intermediate_size": 24},
    "gpt_oss": {**_EXPERTS, "num_local_experts": 4, "intermediate_size": 24, "head_dim": 8},
    "granitemoe": {**_EXPERTS, "num_local_experts": 4, "intermediate_size": 24},
}
"""Configurations of small mixtures of experts. The slices of `gpt_oss` are transposed, and gate and up
alternate in them. `granitemoe` is stored with one tensor for all experts."""


def tiny_model(kind: str, *, seed: int = 0, **sizes: int) -> Any:
    """Return a small model with random weights that differ enough to be pruned in a definite order."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(kind, **{**{**TINY_CONFIGS, **MOE_CONFIGS}[kind], **sizes})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=0.15)
    return model.eval()


def token_batches(count: int, *, rows: int = 2, tokens: int = 16, seed: int = 1) -> list[Tensor]:
    """Return batches of random token ids (rows, tokens)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, TOKENS, (rows, tokens), generator=generator) for _ in range(count)]


class LocalClient:
    """Solves layers in this process as Wanda does (arXiv 2306.11695), and records their statistics."""

    def __init__(self) -> None:
        """Begin without statistics."""
        self.hessians: list[Tensor] = []
        """The Hessian (in, in) of each layer, in the order of the requests."""
        self.queries: list[dict[str, Any]] = []
        self.masks: list[Tensor | None] = []
        """The mask (out, in) of each request."""
        self.targets: list[Tensor | None] = []
        """The target (out, in) of each layer, which changes nothing."""
        self.validation_targets: list[Tensor | None] = []
        self.validation: list[Tensor | None] = []
        """The packed validation Hessian of each layer."""
        self.stored: dict[str, tuple[Tensor, Tensor | None]] = {}
        self.put_count = 0

    def prune_layer(
        self,
        weight: Tensor,
        *,
        hessian: str | None = None,
        hessian_upper: Tensor | None = None,
        validation_hessian_upper: Tensor | None = None,
        mask: Tensor | None = None,
        target: Tensor | None = None,
        validation_target: Tensor | None = None,
        **query: Any,
    ) -> PrunedLayer[Tensor]:
        """Set the half of each row with the lowest scores |W[i,j]|·√H[j,j] to zero, or the zeros of `mask`.

        With `bits`, the other weights are rounded.
        """
        given = hessian_upper, validation_hessian_upper
        upper, validation = self.stored[hessian] if hessian else given
        self.validation.append(validation)
        matrix = unpack_upper(upper, weight.shape[1]) if upper is not None else torch.eye(weight.shape[1])
        self.hessians.append(matrix)
        self.queries.append(query)
        self.targets.append(target)
        self.validation_targets.append(validation_target)
        scores = weight.float().abs() * matrix.diagonal().sqrt()
        self.masks.append(mask)
        if mask is None:
            mask = torch.ones_like(weight, dtype=torch.bool)
            mask.scatter_(1, scores.argsort(dim=1, stable=True)[:, : weight.shape[1] // 2], value=False)
        if bits := query.get("bits"):
            step = weight.abs().amax(1, keepdim=True) / 2 ** (bits - 1)
            weight = (weight / step).round() * step
        report = solve_report(weight, zeros=int((~mask).sum()), **query)
        return PrunedLayer(weight=weight * mask, mask=mask, quantized=None, report=report)

    def put_hessian(self, hessian_upper: Tensor, validation_hessian_upper: Tensor | None = None) -> str:
        """Store statistics."""
        self.put_count += 1
        digest = f"sha256:{self.put_count:064x}"
        self.stored[digest] = hessian_upper, validation_hessian_upper
        return digest

    def delete_hessian(self, digest: str) -> None:
        """Delete stored statistics."""
        del self.stored[digest]


class StoppingClient(LocalClient):
    """A client that loses its host after it has solved `layers` layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers

    def prune_layer(self, *args: Any, **options: Any) -> PrunedLayer[Tensor]:
        if len(self.hessians) == self.layers:
            raise ConnectionError("the host is gone")
        return super().prune_layer(*args, **options)


def run(model: nn.Module, client: Any = None, batches: Any = None, **options: Any) -> PruneReport:
    """Prune a model as Wanda does, by default with the solver of this process and two batches."""
    batches = token_batches(2) if batches is None else batches
    return prune_(
        model, batches, client or LocalClient(), **{"method": "wanda", "progress": False, **options}
    )


def run_folder(
    folder: str | Path, out: str | Path, client: Any = None, batches: Any = None, **options: Any
) -> PruneReport:
    """Prune a folder like `run`."""
    batches = token_batches(2) if batches is None else batches
    options = {"method": "wanda", "progress": False, **options}
    return prune_folder(folder, batches, client or LocalClient(), out, **options)


def shard(model: Any) -> Any:
    """Shard each block of a model, and then the model, by FSDP2."""
    for block in model.get_decoder().layers:
        fully_shard(block)
    fully_shard(model)
    return model


def require_equal(model: nn.Module, expected: nn.Module) -> None:
    """Require that two models have the same parameters, bit for bit."""
    wanted = dict(expected.named_parameters())
    assert dict(model.named_parameters()).keys() == wanted.keys()
    for name, values in model.named_parameters():
        assert torch.equal(values, wanted[name]), name


def solve_report(weight: Tensor, *, zeros: int, method: str, **_: Any) -> Any:
    """Return the report of a solved layer."""
    return {
        "method": method,
        "rows": weight.shape[0],
        "cols": weight.shape[1],
        "pattern": "unstructured",
        "sparsity": zeros / weight.numel(),
        "zeros": zeros,
        "loss": None,
        "relative_error": None,
        "damping": None,
        "iterations": 0,
        "refit_steps": 0,
        "notes": [],
        "backend": "cpu",
        "adapter": "this process",
        "seconds": {"read": 0, "factor": 0, "solve": 0, "refit": 0, "total": 0},
        "factor_reused": False,
    }


def unpack_upper(upper: Tensor, order: int) -> Tensor:
    """Return the symmetric matrix whose upper triangle is packed row by row."""
    matrix = torch.zeros(order, order)
    rows, columns = torch.triu_indices(order, order)
    matrix[rows, columns] = upper
    matrix[columns, rows] = upper
    return matrix


@functools.cache
def text_files() -> dict[str, Path]:
    """Return the paths of the calibration and the evaluation text of the trained models."""
    folder = tempfile.mkdtemp(prefix="pare-test-")
    run_deno("scripts/fixtures/sotu_text.ts", folder)
    return {part: Path(folder) / f"{part}.txt" for part in ("calibration", "evaluation")}


@functools.cache
def tokens_of(model: str, part: str) -> list[int]:
    """Return the token ids of a text, as the command line reads it."""
    tokenizer = Tokenizer.from_file(str(MODELS / model / "tokenizer.json"))
    return list(tokenizer.encode(text_files()[part].read_text()).ids)


def calibration_windows(model: str, windows: int, seqlen: int = 256) -> Tensor:
    """Return the windows that `pare prune --samples WINDOWS` calibrates on."""
    tokens = tokens_of(model, "calibration")
    step = len(tokens) // windows
    return torch.tensor([tokens[i * step : i * step + seqlen] for i in range(windows)])


def trained_model(name: str) -> Any:
    """Load a trained model of the repository in float32."""
    return transformers.AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32).eval()


@torch.inference_mode()
def perplexity(model: nn.Module, name: str, windows: int, seqlen: int = 256) -> float:
    """Return the perplexity on the first windows of the evaluation text, as `pare eval` measures it."""
    tokens = torch.tensor(tokens_of(name, "evaluation")[: windows * seqlen]).view(windows, seqlen)
    total = 0.0
    for batch in tokens.split(4):
        logits = model(batch).logits[:, :-1]
        total += cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").double().item()
    return math.exp(total / (windows * (seqlen - 1)))


def require_memory_of_one_block(host: HostProcess, *options: str, more: int = 0) -> None:
    """Run `block_memory.py`, and check that it takes the memory of one block, and `more` bytes."""
    # The allocator of glibc gives freed memory back at once with these settings, so the peak is that of the
    # run.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    script = ["-W", "ignore", str(Path(__file__).with_name("block_memory.py")), host.url, *options]
    shape = ["--method", "magnitude", "--hidden", "384", "--intermediate", "1024"]
    sizes = json.loads(run_python(*script, *shape, **allocator)[-1])
    allowed = 1.5 * (sizes["block"] + sizes["statistics"]) + sizes["states"]
    assert sizes["tensors"] <= allowed, sizes
    assert sizes["process"] <= allowed + more + 3e6, sizes  # what allocators have not given back
    assert sizes["process"] < sizes["model"] / 2, sizes


def zeros_of(weights: Sequence[Tensor]) -> int:
    """Return the number of zeros."""
    return sum(int((weight == 0).sum()) for weight in weights)
