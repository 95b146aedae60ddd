"""Makes a model for ONNX Runtime of a checkpoint in the layout `gptq`.

The model builder of onnxruntime-genai makes the graph. It decodes the weights and rounds them again, so every
code is compared with the checkpoint afterwards. A node `MatMulNBits` of the graph has the codes of one layer
(out, in), or of several layers with the same input, one below the other.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pare_llm.checkpoints.folder import CheckpointFolder
from pare_llm.checkpoints.quantized import unpack_bytes

MODEL_FILE = "model.onnx"

# The builder would otherwise round the head and the embedding to 4 bits, run code from the folder, and ask
# the hub for a token.
_BUILDER_OPTIONS = (
    "nodes_to_exclude=/lm_head/MatMul,/model/embed_tokens/Gather",
    "hf_remote=false",
    "hf_token=false",
)


def export_onnx(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], *, accuracy_level: int = 4
) -> Path:
    """Make a model for onnxruntime-genai on a CPU of a checkpoint in the layout `gptq`.

    `pare export FOLDER --format gptq` writes such checkpoints. `out` must not exist. It gets `model.onnx`
    with its data, `config.json`, `genai_config.json` and the tokenizer, and the path of `model.onnx` is
    returned. The layers of the blocks keep their codes and scales. The embedding, the norms and the head are
    in float32. transformers.js loads the folder too.

    `accuracy_level` is the attribute of the nodes `MatMulNBits`. With 4, the default of the builder for CPUs,
    the inputs of the layers are rounded to 8 bits, which is faster. With 1 they stay in float32.

    Raises ModuleNotFoundError if onnxruntime-genai is not installed, FileExistsError if `out` exists,
    RuntimeError with the output of the builder if it fails, for example for a model that it does not know,
    and ValueError if the checkpoint has another layout, or if a code, zero or scale of the graph differs from
    the checkpoint. Then `out` does not exist.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out}: exists already; choose another folder")
    _require_libraries()
    checkpoint = CheckpointFolder(Path(folder))
    try:
        bits = _read_bits(checkpoint)
        partial = out.with_name(f"{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _build(checkpoint.path, partial, accuracy_level)
            _compare(checkpoint, bits, partial / MODEL_FILE)
            _describe_for_transformers_js(checkpoint, partial)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        checkpoint.close()
    return out / MODEL_FILE


def _require_libraries() -> None:
    for library in ("onnx", "onnx_ir", "onnxruntime", "onnxruntime_genai", "transformers"):
        if importlib.util.find_spec(library) is None:
            message = (
                f'pare_llm.export_onnx needs {library}, which is not installed: pip install "pare-llm[onnx]"'
            )
            raise ModuleNotFoundError(message, name=library)


def _build(folder: Path, out: Path, accuracy_level: int) -> None:
    """Run the model builder, whose command line changes less than its functions."""
    out.mkdir(parents=True)
    cache = out / "cache"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(folder), "-o", str(out)]
    command += ["-p", "int4", "-e", "cpu", "-c", str(cache), "--extra_options"]
    command += [f"accuracy_level={accuracy_level}", *_BUILDER_OPTIONS]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(
            f"the model builder of onnxruntime-genai failed on {folder}:\n{done.stdout[-4000:]}"
        )
    shutil.rmtree(cache, ignore_errors=True)


def _describe_for_transformers_js(checkpoint: CheckpointFolder, out: Path) -> None:
    """Write what transformers.js reads: `config.json`, and the head size in the shapes of keys and values.

    The builder has a name in its place, for caches of other dtypes. transformers.js takes a name for 0.
    """
    import onnx  # type: ignore[import-not-found,import-untyped,unused-ignore]

    settings = json.loads((out / "genai_config.json").read_text())["model"]["decoder"]
    model: Any = onnx.load(out / MODEL_FILE, load_external_data=False)
    for value in [*model.graph.input, *model.graph.output]:
        if re.match(r"(past_key_values|present)\.", value.name):
            value.type.tensor_type.shape.dim[-1].dim_value = settings["head_size"]
    onnx.save(model, out / MODEL_FILE)
    shutil.copyfile(checkpoint.path / "config.json", out / "config.json")


def _read_bits(checkpoint: CheckpointFolder) -> int:
    description = checkpoint.config.get("quantization_config")
    members = description if isinstance(description, dict) else {}
    if members.get("quant_method") != "gptq" or members.get("bits") not in (4, 8):
        raise ValueError(
            f"{checkpoint.path}: is not in the layout gptq with 4 or 8 bits; "
            "`pare export FOLDER --format gptq --out OUT` writes it"
        )
    return int(members["bits"])


@dataclass(frozen=True)
class _Rows:
    """Rows of codes: the bytes of each row (rows, bytes) uint8, and its scales (rows, groups) float32."""

    codes: torch.Tensor
    scales: torch.Tensor

    def equals(self, other: "_Rows", first: int) -> bool:
        """Whether these rows are the rows of `other` from `first` on."""
        end = first + self.codes.shape[0]
        return torch.equal(self.codes, other.codes[first:end]) and torch.equal(
            self.scales, other.scales[first:end]
        )


def _compare(checkpoint: CheckpointFolder, bits: int, model: Path) -> None:
    """Raise ValueError unless the graph has the rows of every layer of the checkpoint, and no others."""
    left = {name.removesuffix(".qweight") for name in checkpoint.names() if name.endswith(".qweight")}
    for name, rows in _graph_rows(model, bits):
        block = re.search(r"layers\.(\d+)", name)
        first = 0
        while first < rows.codes.shape[0]:
            candidates = sorted(stem for stem in left if block is not None and f".{block[1]}." in stem)
            found = next((stem for stem in candidates if _layer(checkpoint, stem).equals(rows, first)), None)
            if found is None:
                layers = ", ".join(candidates) or "the checkpoint"
                raise ValueError(f"{model}: {name} differs from {layers} from row {first} on")
            left.remove(found)
            first += checkpoint.info(f"{found}.qweight").shape[1]
    if left:
        raise ValueError(f"{model}: has no codes of {', '.join(sorted(left))}")


def _layer(checkpoint: CheckpointFolder, stem: str) -> _Rows:
    """Read the codes and scales of a layer, which the checkpoint has transposed."""
    words = checkpoint.read(f"{stem}.qweight").view(checkpoint.info(f"{stem}.qweight").shape)
    scales = checkpoint.read(f"{stem}.scales").view(checkpoint.info(f"{stem}.scales").shape)
    return _Rows(words.T.contiguous().view(torch.uint8), scales.T.float())


def _graph_rows(model: Path, bits: int) -> Iterator[tuple[str, _Rows]]:
    """Yield the name and the rows of each node with codes, whose zeros must be 2^(bits - 1)."""
    import onnx_ir  # type: ignore[import-not-found,import-untyped,unused-ignore]

    graph: Any = onnx_ir.load(model).graph
    for node in graph:
        if "Quant" in node.op_type:
            raise ValueError(f"{model}: {node.name} has codes ({node.op_type}) where the checkpoint has none")
        if node.op_type != "MatMulNBits":
            continue
        values = [value and torch.from_numpy(value.const_value.numpy().copy()) for value in node.inputs[1:4]]
        codes, scales, *zeros = [value for value in values if value is not None]
        rows, blocks = codes.shape[:2]
        if zeros and bool((unpack_bytes(zeros[0].view(rows, -1), bits)[:, :blocks] != 2 ** (bits - 1)).any()):
            raise ValueError(f"{model}: {node.name} has a zero that is not {2 ** (bits - 1)}")
        yield node.name, _Rows(codes.view(rows, -1), scales.view(rows, blocks).float())
