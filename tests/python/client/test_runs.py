"""Starts, follows and downloads runs of whole models, at a server that answers as a host does."""

import json
from pathlib import Path

import pytest
from pare_llm import Pare, PareError
from pare_llm.client import runs

from client.fake_server import Received, Reply, Start, problem

CONTENT = bytes(range(100))


def run(state: str, **members: object) -> Reply:
    given = {name: None for name in ("plan", "progress", "result", "error")}
    body = {"id": "1" * 32, "model": "a/b", "options": [], "state": state, "created": "now"} | given
    return Reply(202 if state == "queued" else 200, json.dumps(body | members).encode())


def ranged(received: Received) -> Reply:
    first, last = (int(end) for end in received.headers["Range"].removeprefix("bytes=").split("-"))
    return Reply(206, CONTENT[first : last + 1])


def test_a_run_is_started_with_its_options_and_followed_to_its_end(start: Start) -> None:
    server = start(run("queued"), run("running", progress={"phase": "pruning"}), run("done"))
    pare = Pare(server.url)
    created = pare.runs.create("a/b", for_="gguf:q4_0", sparsity=0.5, idempotency_key="k")
    states = [seen["state"] for seen in pare.runs.follow(created["id"], poll_ms=1)]
    assert [created["state"], *states] == ["queued", "running", "done"]
    request = server.received[0]
    assert json.loads(request.body) == {"model": "a/b", "for": "gguf:q4_0", "sparsity": 0.5}
    assert (request.headers["Idempotency-Key"], request.headers["Content-Type"]) == ("k", "application/json")


def test_a_refused_run_raises_the_reason(start: Start) -> None:
    server = start(problem(422, "unsupported"))
    with pytest.raises(PareError, match="detail of unsupported"):
        Pare(server.url).runs.create("a/b")


def test_a_file_is_downloaded_in_pieces_and_a_failed_piece_is_repeated(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_PIECE_BYTES", 40)
    server = start(ranged, Reply(206, CONTENT[40:80], cut_after=7), ranged, ranged)
    target = tmp_path / "model.gguf"
    Pare(server.url, backoff_ms=1).runs.download("1" * 32, {"name": "m f.gguf", "bytes": 100}, target)
    assert target.read_bytes() == CONTENT
    assert [received.headers["Range"] for received in server.received] == [
        *("bytes=0-39", "bytes=40-79", "bytes=40-79", "bytes=80-99")
    ]
    assert server.received[0].path.endswith("/files/m%20f.gguf")


def test_a_download_of_another_length_writes_no_file(start: Start, tmp_path: Path) -> None:
    server = start(Reply(206, CONTENT[:99]))
    with pytest.raises(ValueError, match="has 99 bytes from 0, not 100"):
        Pare(server.url).runs.download("1" * 32, {"name": "f", "bytes": 100}, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
