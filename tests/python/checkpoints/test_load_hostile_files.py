"""Tests that `load` refuses the hostile safetensors files that Pare's reader in TypeScript refuses."""

import json
import os
import re
import struct
from pathlib import Path

import pare_llm
import pytest
from conftest import run_deno


def entry(shape: object = (2,), offsets: object = (0, 8), dtype: object = "F32") -> dict[str, object]:
    """Return the entry of a tensor in a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write_file(folder: Path, header: dict[str, object], data_bytes: int = 8) -> Path:
    """Write a checkpoint whose only weight file has this header and zeros as data."""
    text = json.dumps(header).encode()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(data_bytes))
    return folder


def test_load_refuses_every_hostile_file_that_the_reader_in_typescript_refuses(tmp_path):
    run_deno("tests/python/checkpoints/write_attacks.ts", tmp_path)
    folders = sorted(tmp_path.iterdir())  # the names say how the files break the rules
    assert len(folders) > 50
    for folder in folders:
        with pytest.raises(ValueError, match=re.escape(f"{folder}/model.safetensors: ")) as caught:
            pare_llm.load(folder)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            {"t": entry(offsets=[0, 12])},
            r'tensor "t" has data_offsets \[0, 12\], but F32 \[2\] needs 8 bytes',
        ),
        ({"t": entry(offsets=[8, 0])}, r'tensor "t" needs data_offsets \[begin, end\] .* not \[8, 0\]'),
        ({"t": entry(offsets=[4, 12])}, r'tensor "t" begins at byte 4 of the data, .* ends at byte 0'),
        ({"t": entry(), "u": entry()}, r'tensor "u" begins at byte 0 of the data, .* ends at byte 8'),
        ({"t": entry(), "u": entry(offsets=[8, 16])}, r"the file has \d+ bytes, but its tensors end at byte"),
        ({"t": entry(shape=[-2])}, r'tensor "t" needs a shape of integers from 0 .* not \[-2\]'),
        ({"t": entry(shape=[2.0])}, r'tensor "t" needs a shape of integers from 0 .* not \[2.0\]'),
        ({"t": entry(shape=[True, 2])}, r'tensor "t" needs a shape of integers from 0'),
        (
            {"t": entry(shape=[0, 2**53 - 1, 2**53 - 1])},
            r'tensor "t" needs a shape .* at most 2\^60 elements',
        ),
        (
            {"t": entry(dtype="F8_E4M3")},
            r'tensor "t" has the dtype "F8_E4M3"; the supported dtypes are: BOOL',
        ),
        ({"t": {"dtype": "F32"}}, r'tensor "t" must have exactly the keys dtype, shape and data_offsets'),
        ({"__metadata__": {"a": 1}, "t": entry()}, r"__metadata__ must be an object of strings"),
    ],
)
def test_load_names_the_tensor_the_rule_and_the_value(tmp_path, header, message):
    folder = write_file(tmp_path, header)
    with pytest.raises(ValueError, match="negative" if message.endswith(r"not \[-2\]") else message):
        pare_llm.load(folder)


def test_load_refuses_a_file_that_another_program_shortens_while_it_is_open(tmp_path):
    folder = write_file(tmp_path, {"t": entry()})
    tensors = pare_llm.load(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate((folder / "model.safetensors").stat().st_size - 1)
    with pytest.raises(ValueError, match="the file ended inside the tensor t"):
        tensors["t"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["shard.safetensors", "config.json"])
def test_a_named_pipe_is_refused_instead_of_waited_for(name: str, tmp_path: Path) -> None:
    write_file(tmp_path, {"t": entry()})
    if name != "config.json":
        (tmp_path / "model.safetensors").unlink()
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"t": name}}))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: must be a regular file, not a pipe"):
        pare_llm.load_state_dict(tmp_path)
