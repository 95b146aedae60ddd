"""Uploads, against a fake edge whose bucket fails in prepared ways."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
from pare_llm import PareError
from pare_llm.edge import UploadProgress, Uploads

from client.fake_server import FakeServer, Received, Reply, problem

DATA = bytes(range(256)) * 4
PART_SIZE = 300
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class FakeEdge:
    """Stores uploads in memory. `failures` are the replies to the first PUTs of a part, by its number."""

    def __init__(self, failures: dict[int, list[Reply]] | None = None) -> None:
        self.parts: dict[int, bytes] = {}
        self.puts: list[int] = []
        self.blob: bytes | None = None
        self.lock = threading.Lock()
        self.failures = failures or {}
        self.signature = 0
        self.server = FakeServer(self.answer)

    def answer(self, received: Received) -> Reply:
        with self.lock:
            return self._answer(received)

    def _answer(self, received: Received) -> Reply:
        if received.method == "HEAD":
            return Reply(404 if self.blob is None else 200)
        if received.method == "PUT":
            number = int(received.path.split("/")[2].split("?")[0])
            self.puts.append(number)
            if self.failures.get(number):
                return self.failures[number].pop(0)
            if received.path.endswith(f"?signature={self.signature}"):
                self.parts[number] = received.body
                return Reply(headers={"ETag": f'"{number}"'})
            return Reply(403, b"the URL has expired", {"Content-Type": "text/plain"})
        if received.path.endswith("/complete"):
            numbers = sorted(part["number"] for part in json.loads(received.body)["parts"])
            self.blob = b"".join(self.parts[number] for number in numbers)
            return json_reply({"blob": f"sha256:{hashlib.sha256(self.blob).hexdigest()}"})
        if received.method == "GET" and not received.path.endswith("/u-1"):
            return problem(404, "not_found")
        count = -(-len(DATA) // PART_SIZE)
        urls = [
            {"number": n, "url": f"{self.server.url}/bucket/{n}?signature={self.signature}"}
            for n in range(1, count + 1)
        ]
        return json_reply({"upload": "u-1", "part_size": PART_SIZE, "parts": urls, "expires": ""})


def json_reply(value: object) -> Reply:
    return Reply(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def uploads(edge: FakeEdge, **options: int) -> Uploads:
    return Uploads(edge.server.url, "secret", backoff_ms=1, **options)


@pytest.mark.parametrize("kind", ["bytes", "buffers", "file"])
def test_the_bytes_are_sent_in_parts(kind: str, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    sources = {
        "bytes": DATA,
        "buffers": [DATA[:7], memoryview(DATA)[7:500], DATA[500:]],
        "file": tmp_path / "blob",
    }
    edge = FakeEdge()
    assert uploads(edge).upload_blob(sources[kind]) == DIGEST
    assert edge.blob == DATA
    assert sorted(edge.puts) == [1, 2, 3, 4]
    assert not any("Authorization" in r.headers for r in edge.server.received if r.method == "PUT")


def test_bytes_that_the_edge_stores_are_not_sent() -> None:
    edge = FakeEdge()
    edge.blob = DATA
    assert uploads(edge).upload_blob(DATA) == DIGEST
    assert edge.server.log == [f"HEAD /v1/blobs/{DIGEST}"]
    assert uploads(edge).has_blob(DIGEST)


def test_a_part_that_fails_is_repeated_alone() -> None:
    cut = Reply(body=b"0123456789", cut_after=2)
    edge = FakeEdge({2: [Reply(500), Reply(503), cut]})
    errors: list[object] = []
    failing = Uploads(edge.server.url, backoff_ms=1, on_retry=lambda error, _: errors.append(type(error)))
    failing.upload_blob(DATA)
    assert errors == [PareError, PareError, ConnectionError]
    assert sorted(edge.puts) == [1, 2, 2, 2, 2, 3, 4]
    assert edge.blob == DATA


def test_urls_that_have_expired_are_renewed() -> None:
    edge = FakeEdge()

    def expire(progress: UploadProgress) -> None:
        if len(progress["parts"]) == 2:
            edge.signature = 1

    uploads(edge).upload_blob(DATA, concurrency=1, on_part=expire)
    assert edge.blob == DATA
    assert edge.puts == [1, 2, 3, 3, 4]


def test_an_upload_that_failed_is_resumed_with_the_missing_parts() -> None:
    edge = FakeEdge({3: [problem(400, "invalid_parameter")]})
    progress: list[UploadProgress] = []
    with pytest.raises(PareError, match="invalid_parameter"):
        uploads(edge).upload_blob(DATA, concurrency=1, on_part=progress.append)
    # After the failure of part 3, part 4 is not begun.
    assert edge.puts == [1, 2, 3]
    assert [part["number"] for part in progress[-1]["parts"]] == [1, 2]
    assert uploads(edge).upload_blob(DATA, resume=progress[-1]) == DIGEST
    assert sorted(edge.puts) == [1, 2, 3, 3, 4]
    assert edge.blob == DATA


def test_an_upload_that_the_edge_no_longer_has_starts_again() -> None:
    edge = FakeEdge()
    uploads(edge).upload_blob(DATA, resume={"upload": "u-0", "parts": [{"number": 1, "etag": '"1"'}]})
    assert sorted(edge.puts) == [1, 2, 3, 4]
    assert edge.blob == DATA


def test_a_bucket_that_sends_no_etag_is_an_error() -> None:
    edge = FakeEdge({1: [Reply(200)]})
    with pytest.raises(ValueError, match="part 1 of the upload: the answer to its PUT has no ETag"):
        uploads(edge).upload_blob(DATA)
