"""Checkpoints and texts in an S3 server, which are read by byte ranges and written in parts."""

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
import transformers
from conftest import MODELS, ROOT, HostProcess
from moto.server import ThreadedMotoServer
from pare_llm import calibration_windows, load, prune_, prune_folder, save_sharded
from pare_llm.checkpoints.remote import PIECE_BYTES, as_path
from pare_llm.pruning.files import atomic_file
from pruning_support import LocalClient, require_memory_of_one_block, tiny_model, token_batches
from safetensors.torch import save_file

RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)


class Proxy:
    """Passes connections on to a server, notes the byte ranges, and can cut a connection."""

    def __init__(self, port: int) -> None:
        """Listen at a free port of this machine, and pass connections on to `port`."""
        self.ranges: list[tuple[int, int]] = []
        self.cut_after: int | None = None
        """How many bytes of answers the next connection passes on before it is cut."""
        self.cuts = 0
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            for source, target in ((client, server), (server, client)):
                is_answer = source is server
                threading.Thread(target=self._pass, args=(source, target, is_answer), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                if not is_answer:
                    self.ranges += [(int(first), int(last)) for first, last in RANGE.findall(data)]
                passed += len(data)
                if is_answer and self.cut_after is not None and passed > self.cut_after:
                    self.cut_after = None
                    self.cuts += 1
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Return a proxy in front of an S3 server that has the bucket `models`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("models")
        yield proxy
    proxy.close()
    server.stop()


def prune(folder: str | Path, out: str | Path) -> None:
    prune_folder(folder, token_batches(2), LocalClient(), out, method="wanda", progress=False)


def test_a_run_from_s3_to_s3_writes_the_files_of_a_run_on_the_disk(proxy: Proxy, tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "dense")
    fsspec.filesystem("s3").put(f"{tmp_path}/dense", "models/dense", recursive=True)
    prune(tmp_path / "dense", tmp_path / "pruned")
    prune("s3://models/dense/", "s3://models/pruned")
    stored = {path.name: path.read_bytes() for path in as_path("s3://models/pruned").iterdir()}
    assert stored.keys() == {path.name for path in (tmp_path / "pruned").iterdir()}
    for name, content in stored.items():
        if name != "pare.json":
            assert content == (tmp_path / "pruned" / name).read_bytes(), name
    report = json.loads(stored["pare.json"])
    assert report["model"]["name"] == "dense"
    assert report["bytes"]["written"] == sum(
        len(content) for name, content in stored.items() if name.endswith(".safetensors")
    )
    with pytest.raises(FileExistsError, match="s3://models/pruned: already has a checkpoint"):
        prune("s3://models/dense", "s3://models/pruned")


def test_a_journal_in_an_object_store_is_refused(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="journal: must be a folder on a disk, not s3://models/journal"):
        prune_(tiny_model("llama"), token_batches(1), LocalClient(), journal="s3://models/journal")
    assert not list(tmp_path.iterdir())


def test_save_sharded_writes_a_checkpoint_to_s3(proxy: Proxy) -> None:
    model = tiny_model("llama")
    save_sharded(model, "s3://models/saved")
    with load("s3://models/saved") as tensors:
        assert tensors.config["architectures"] == ["LlamaForCausalLM"]
        for name, values in model.state_dict().items():
            assert torch.equal(tensors[name], values), name


def test_load_reads_one_tensor_by_its_byte_range(proxy: Proxy, tmp_path: Path) -> None:
    large = torch.arange(3 * PIECE_BYTES // 4 + 5, dtype=torch.float32)
    save_file({"a": torch.ones(10), "large": large}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    fsspec.filesystem("s3").put(f"{tmp_path}/", "models/large/", recursive=True)
    with load("s3://models/large") as tensors:
        proxy.ranges.clear()
        assert torch.equal(tensors["a"], torch.ones(10))
        assert [last - first + 1 for first, last in proxy.ranges] == [40]
        proxy.ranges.clear()
        proxy.cut_after = PIECE_BYTES // 2  # in the middle of the first range
        assert torch.equal(tensors["large"], large)
        assert proxy.cuts == 1
    sizes = [last - first + 1 for first, last in proxy.ranges]
    # The range whose connection was cut was requested again.
    assert sorted(sizes) == [20, *[PIECE_BYTES] * 4]


def test_the_windows_of_a_text_in_s3_are_those_of_the_file(proxy: Proxy, tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODELS / "opt-sotu")
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (tmp_path / "text.txt").write_text(text)
    proxy.ranges.clear()
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": part}) for part in text.split("\n\n")))
    for name in ("text.txt", "text.jsonl"):
        fsspec.filesystem("s3").put(f"{tmp_path}/{name}", f"models/{name}")
        windows = calibration_windows(tokenizer, f"s3://models/{name}", 7, 50)
        assert torch.equal(windows, calibration_windows(tokenizer, tmp_path / name, 7, 50))
    # The text is larger than the blocks that Python reads by default.
    assert [first for first, _ in proxy.ranges] == [0, 0]
    with pytest.raises(FileNotFoundError):
        calibration_windows(tokenizer, "s3://models/missing.txt", 7, 50)


@pytest.mark.parametrize("size", [10, PIECE_BYTES + 10])
def test_an_upload_that_fails_leaves_no_file(proxy: Proxy, size: int) -> None:
    path = as_path(f"s3://models/failed/{size}")

    def write() -> None:
        with atomic_file(path) as file:
            file.write(bytes(size))
            raise ConnectionError("the host is gone")

    with pytest.raises(ConnectionError, match="the host is gone"):
        write()
    files: Any = fsspec.filesystem("s3", skip_instance_cache=True)
    assert not files.exists("models/failed")
    assert not files.list_multipart_uploads("models")


def test_the_parts_of_an_upload_that_cannot_be_completed_are_deleted(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise ConnectionError("the store is gone")

    monkeypatch.setattr("s3fs.core.S3File.commit", fail)
    with pytest.raises(ConnectionError), atomic_file(as_path("s3://models/failed")) as file:
        file.write(bytes(PIECE_BYTES + 10))
    assert not fsspec.filesystem("s3").list_multipart_uploads("models")


def test_a_missing_folder_and_a_missing_library_are_refused_by_name(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="s3://models/nothing: there is no such folder"):
        load("s3://models/nothing")
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(ModuleNotFoundError, match=r"s3://models/nothing: needs .* \"pare-llm\[cloud\]\""):
        load("s3://models/nothing")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory of a process is read from /proc")
def test_the_memory_is_that_of_one_block_and_a_few_pieces(host: HostProcess, proxy: Proxy) -> None:
    options = ["--blocks", "24", "--store", "s3://models/memory"]
    # Two pieces of an answer and two of an upload.
    require_memory_of_one_block(host, *options, more=4 * PIECE_BYTES)
