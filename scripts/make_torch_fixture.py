"""Writes tests/fixtures/torch: small weight files by torch.save, each beside a safetensors file of the same values.

    python3 scripts/make_torch_fixture.py

Needs torch and safetensors. The values are seeded, but the archives are not: torch gives each an id of its own.
It trains nothing and makes no model that says anything.
"""

import json
import pathlib
from collections import OrderedDict

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "torch"

CONFIG = {
    "model_type": "opt",
    "hidden_size": 8,
    "ffn_dim": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 20,
    "max_position_embeddings": 12,
    "word_embed_proj_dim": 8,
    "do_layer_norm_before": True,
    "activation_function": "relu",
}


class Attention(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            setattr(self, name, torch.nn.Linear(width, width))


class Block(torch.nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.self_attn = Attention(width)
        self.self_attn_layer_norm = torch.nn.LayerNorm(width)
        self.fc1 = torch.nn.Linear(width, inner)
        self.fc2 = torch.nn.Linear(inner, width)
        self.final_layer_norm = torch.nn.LayerNorm(width)


class Decoder(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.embed_positions = torch.nn.Embedding(c["max_position_embeddings"] + 2, c["hidden_size"])
        self.final_layer_norm = torch.nn.LayerNorm(c["hidden_size"])
        self.layers = torch.nn.ModuleList([Block(c["hidden_size"], c["ffn_dim"])])


class Opt(torch.nn.Module):
    """The names and shapes of an OPTForCausalLM, with the tied head."""

    def __init__(self, c):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.decoder = Decoder(c)
        self.lm_head = torch.nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        self.lm_head.weight = self.model.decoder.embed_tokens.weight


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_expected(path, tensors):
    """As the reference writer would, with tied tensors apart."""
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})


def write_whole():
    """One file, f16, the state dict of a module: an OrderedDict with _metadata and a tied head."""
    folder = OUT / "opt"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    state = Opt(CONFIG).half().state_dict()
    torch.save(state, folder / "pytorch_model.bin")
    write_expected(folder / "expected.safetensors", state)


def write_sharded():
    """Two shards with an index, bf16, parameters and not tensors."""
    folder = OUT / "opt-sharded"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    state = dict(Opt(CONFIG).bfloat16().named_parameters())
    names = list(state)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    index = {"metadata": {"total_size": sum(t.numel() * 2 for t in state.values())}, "weight_map": {}}
    for number, part in enumerate(parts, 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file)
        index["weight_map"].update({name: file for name in part})
    write_json(folder / "pytorch_model.bin.index.json", index)
    write_expected(folder / "expected.safetensors", state)


def write_kinds():
    """Every dtype, and what else a state dict may hold: buffers, scalars, empty tensors, slices of one storage."""
    table = torch.randn(6, 5)
    state = OrderedDict(
        f64=torch.randn(3, dtype=torch.float64),
        f32=table,
        f16=torch.randn(2, 3).half(),
        bf16=torch.randn(7).bfloat16(),
        i64=torch.arange(9).view(1, 9),
        i32=torch.tensor([-1, 2**31 - 1], dtype=torch.int32),
        i16=torch.tensor([-3], dtype=torch.int16),
        i8=torch.tensor([-128, 127], dtype=torch.int8),
        u8=torch.tensor([255, 0, 1], dtype=torch.uint8),
        bool=torch.ones(3, 3).tril().bool().view(1, 1, 3, 3),
        scalar=torch.tensor(-1e4),
        count=torch.tensor(7),
        empty=torch.zeros(0, 4),
        rows=table[2:4],
        parameter=torch.nn.Parameter(torch.randn(2, 2)),
    )
    torch.save(state, OUT / "kinds.bin")
    write_expected(OUT / "kinds.safetensors", state)
    unsigned = {
        "u16": torch.tensor([65535, 1], dtype=torch.uint16),
        "u32": torch.tensor([2**32 - 1], dtype=torch.uint32),
        "u64": torch.tensor([2**63], dtype=torch.uint64),
        "bf16": torch.randn(4).bfloat16(),
    }
    for protocol in (2, 4, 5):
        torch.save(unsigned, OUT / f"protocol{protocol}.bin", pickle_protocol=protocol)
    # safetensors' writer for torch knows no unsigned dtypes: their bytes go under the signed ones.
    signed = {"u16": torch.int16, "u32": torch.int32, "u64": torch.int64}
    expected = {name: tensor.view(signed.get(name, tensor.dtype)) for name, tensor in unsigned.items()}
    write_expected(OUT / "protocol.safetensors", expected)


def write_refused():
    """Files that torch.save writes and Pare does not read."""
    torch.save({"a": torch.zeros(3)}, OUT / "old_format.bin", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.randn(2, 3).t()}, OUT / "transposed.bin")
    torch.save({"a": torch.eye(3).to_sparse()}, OUT / "sparse.bin")
    torch.save(torch.nn.Linear(2, 2), OUT / "module.bin")
    torch.save({"state_dict": {"a": torch.zeros(2)}, "epoch": 3}, OUT / "training.bin")


if __name__ == "__main__":
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    write_whole()
    write_sharded()
    write_kinds()
    write_refused()
