"""Distributed checkpoints of PyTorch are loaded and pruned, and PyTorch loads pruned folders on its ranks."""

import io
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pare_llm
import pytest
import torch
import torch.distributed.checkpoint as dcp
import transformers
from pruning_support import require_equal, run, run_folder, shard, tiny_model
from ranks import run_on_ranks
from safetensors.torch import save_file
from torch import distributed as dist

FORMS = ("nested", "flat", "safetensors")


def save_all(folder: Path) -> None:
    """Save one model in each form, on every rank."""
    state = shard(tiny_model("llama")).state_dict()
    optimizer = {"step": 3, "average": {name: values + 1 for name, values in state.items()}}
    dcp.save({"model": state, "optimizer": optimizer}, checkpoint_id=folder / "nested")
    dcp.save(state, checkpoint_id=folder / "flat")
    writer = dcp.HuggingFaceStorageWriter(str(folder / "safetensors"), save_distributed=True)
    dcp.save(state, storage_writer=writer)
    if dist.get_rank() == 0:
        for form in FORMS:
            tiny_model("llama").config.save_pretrained(folder / form)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkpoints that three ranks saved, whose shards have several sizes."""
    folder = tmp_path_factory.mktemp("saved")
    run_on_ranks(save_all, 3, folder)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_load_reads_the_tensors_of_the_model_only(form: str, saved: Path) -> None:
    expected = tiny_model("llama").state_dict()
    with pare_llm.load(saved / form) as tensors:
        assert set(tensors) == set(expected)
        for name, values in tensors.items():
            assert torch.equal(values, expected[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_prune_folder_gives_the_weights_of_prune(form: str, saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned"
    run_folder(saved / form, out)
    names = {path.suffix for path in out.iterdir()}
    assert names == {".safetensors", ".json"}
    model = tiny_model("llama")
    run(model)
    require_equal(transformers.AutoModelForCausalLM.from_pretrained(out), model)
    with pytest.raises(FileExistsError, match="already has a checkpoint"):
        run_folder(saved / form, saved / form)


def load_pruned(folder: Path) -> dict[str, Any]:
    """Load a pruned folder into a sharded model with the reader of PyTorch."""
    model = shard(tiny_model("llama"))
    state = model.state_dict()
    dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(str(folder)))
    model.load_state_dict(state)
    return {name: values.full_tensor().detach() for name, values in model.named_parameters()}


def test_the_reader_of_pytorch_loads_a_pruned_folder_on_two_ranks(tmp_path: Path) -> None:
    dense, out = tmp_path / "dense", tmp_path / "pruned"
    tiny_model("llama").save_pretrained(dense)
    run_folder(dense, out)
    expected = transformers.AutoModelForCausalLM.from_pretrained(out)
    for state in run_on_ranks(load_pruned, 2, out):
        for name, values in expected.named_parameters():
            assert torch.equal(state[name], values), name


class Attack:
    """An object whose pickle runs a program when it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_code_in_the_metadata_is_not_run(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved / "flat/config.json").read_bytes())
    marker = tmp_path / "was-run"
    # The module of the descriptions imports `os`. In this form of pickles, a name may contain dots.
    module, name = b"torch.distributed.checkpoint.metadata", b"os.system"
    through_module = b"\x80\x04\x8c%c%s\x8c%c%s\x93." % (len(module), module, len(name), name)
    for content in (pickle.dumps(Attack(marker)), through_module):
        (tmp_path / ".metadata").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"\.metadata: cannot be read: .*system does not describe a tensor"
        ):
            pare_llm.load(tmp_path)
    assert not marker.exists()


def changed(folder: Path, saved: Path, change: Any) -> None:
    """Copy the flat checkpoint to `folder` with another description of its tensors."""
    folder.mkdir(exist_ok=True)
    for path in (saved / "flat").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


NAME = "model.layers.0.mlp.up_proj.weight"


def first_place(metadata: Any) -> Any:
    return next(place for index, place in metadata.storage_data.items() if index.fqn == NAME)


def leave_the_folder(metadata: Any) -> None:
    first_place(metadata).relative_path = "../flat/__0_0.distcp"


def end_after_the_file(metadata: Any) -> None:
    first_place(metadata).length = 10**9


def be_too_large(metadata: Any) -> None:
    chunk = metadata.state_dict_metadata[NAME].chunks[0]
    chunk.sizes = torch.Size([10**9, chunk.sizes[1]])


def lack_a_piece(metadata: Any) -> None:
    metadata.state_dict_metadata[NAME].chunks.pop()


def repeat_a_piece(metadata: Any) -> None:
    chunks = metadata.state_dict_metadata[NAME].chunks
    chunks[1] = chunks[0]


def lack_an_offset(metadata: Any) -> None:
    chunk = metadata.state_dict_metadata[NAME].chunks[0]
    (index,) = (each for each in metadata.storage_data if (each.fqn, each.offset) == (NAME, chunk.offsets))
    place = metadata.storage_data.pop(index)
    chunk.offsets = torch.Size(chunk.offsets[:1])
    metadata.storage_data[replace(index, offset=chunk.offsets)] = place


def have_two_models(metadata: Any) -> None:
    for name in (NAME, NAME.replace("up_proj", "gate_proj")):
        metadata.planner_data[name] = (name, "model", NAME)


def lack_a_place(metadata: Any) -> None:
    metadata.storage_data.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (leave_the_folder, r'is in the file "\.\./flat/__0_0\.distcp", which is not in the folder'),
        (end_after_the_file, r"__\d_0\.distcp: .*up_proj\.weight is in the bytes \d+ to \d+ of \d+"),
        (be_too_large, r"the \d+ bytes of .*up_proj\.weight are fewer than F32 \[1000000000, 32\] needs"),
        (lack_a_piece, r"up_proj\.weight must have pieces that make up F32 \[48, 32\], not"),
        (repeat_a_piece, r"up_proj\.weight must have pieces that make up F32 \[48, 32\], not"),
        (lack_an_offset, r"up_proj\.weight must have pieces that make up F32 \[48, 32\], not"),
        (have_two_models, r"has two tensors with the name .*up_proj\.weight"),
        (lack_a_place, r"\.metadata: describes no tensors: KeyError"),
    ],
)
def test_a_malformed_description_is_refused_by_name(
    change: Any, message: str, saved: Path, tmp_path: Path
) -> None:
    changed(tmp_path, saved, change)
    with pytest.raises(ValueError, match=message):
        pare_llm.load(tmp_path)


def test_a_piece_of_another_shape_is_refused_when_it_is_read(saved: Path, tmp_path: Path) -> None:
    def shrink(metadata: Any) -> None:
        content = io.BytesIO()
        torch.save(torch.zeros(1, 1), content)
        place = first_place(metadata)
        with (tmp_path / place.relative_path).open("r+b") as file:
            file.seek(place.offset)
            file.write(content.getvalue()[: place.length])

    changed(tmp_path, saved, shrink)
    with (
        pare_llm.load(tmp_path) as tensors,
        pytest.raises(ValueError, match=r"up_proj\.weight (must be|cannot)"),
    ):
        tensors[NAME]


def test_a_shard_without_offsets_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved / "flat/config.json").read_bytes())
    save_file({NAME: torch.zeros(2, 2)}, tmp_path / "shard-00001-model-00001-of-00001.safetensors")
    with pytest.raises(ValueError, match=r"DCP_SHARDING_INFO must have the saved_offsets of .*up_proj"):
        pare_llm.load(tmp_path)
