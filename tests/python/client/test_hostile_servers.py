"""Servers that break the rules: answers that never end, lengths that are wrong, redirections and texts."""

import socket
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pare_llm import Pare, PareError, TransportOptions
from pare_llm.edge import Jobs, LayerToUpload, prune_by_job

from client.fake_server import Reply, Start, solved
from client.raw_server import Handler, RawServer, read_request
from client.test_results import LAYER

WEIGHT = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], RawServer]]:
    """Return a function that starts a server. All servers are stopped after the test."""
    servers: list[RawServer] = []

    def start_server(handle: Handler) -> RawServer:
        def handle_request(connection: socket.socket) -> None:
            read_request(connection)
            handle(connection)

        servers.append(RawServer(handle_request))
        return servers[-1]

    yield start_server
    for server in servers:
        server.close()


Serve = Callable[[Handler], RawServer]


def prune(server: RawServer, **options: float) -> None:
    Pare(server.url, **{"retries": 0, **options}).prune_layer(WEIGHT, method="magnitude")  # type: ignore


def drip(connection: socket.socket, piece: bytes) -> None:
    """Send a piece every 50 ms, as long as the client takes them, at most for 20 s."""
    for _ in range(400):
        connection.sendall(piece)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("start_of_answer", "piece"),
    [
        (OK + b"Content-Length: 100\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"\r\n", b"x"),
        (OK + b"X-Header: ", b"x"),
        (b"HTTP/1.1 503 ", b"x"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n", b"x"),
    ],
    ids=["body", "chunks", "until the end", "header", "status", "refusal"],
)
def test_the_timeout_does_not_start_anew_with_each_byte(
    serve: Serve, start_of_answer: bytes, piece: bytes
) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start_of_answer)
        drip(connection, piece)

    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"timeout of 0\.5 s"):
        prune(serve(answer), timeout=0.5)
    assert time.monotonic() - started < 3


def test_the_timeout_ends_a_body_that_the_server_does_not_read(serve: Serve) -> None:
    server = RawServer(lambda connection: time.sleep(10))
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        Pare(server.url, retries=0, timeout=0.5).prune_layer(np.ones((4000, 4000), np.float32))
    assert time.monotonic() - started < 3
    server.close()


def test_a_client_can_be_used_after_a_timeout(serve: Serve, start: Start) -> None:
    slow = Reply(body=b"x")
    server = start(lambda _: time.sleep(0.6) or slow, Reply(204))
    pare = Pare(server.url, timeout=0.3)
    with pytest.raises(TimeoutError):
        pare.delete_hessian("sha256:0")
    pare.delete_hessian("sha256:0")


@pytest.mark.parametrize(
    ("headers", "piece"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + bytes(2**20) + b"\r\n"),
        (b"Connection: close\r\n\r\n", bytes(2**20)),
    ],
    ids=["chunks", "until the end"],
)
def test_a_body_without_a_length_is_read_only_as_far_as_a_right_answer_goes(
    serve: Serve, headers: bytes, piece: bytes
) -> None:
    sent = 0

    def answer(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(OK + headers)
        for _ in range(200):
            connection.sendall(piece)
            sent += len(piece)

    with pytest.raises(ValueError, match=r"^answer of /v1/layers: has more than 10486.. bytes"):
        prune(serve(answer))
    assert sent < 50 * 2**20  # what the operating system had buffered


def test_a_huge_length_is_refused_before_memory_is_taken(serve: Serve) -> None:
    server = serve(lambda connection: connection.sendall(OK + b"Content-Length: 1000000000000\r\n\r\n"))
    with pytest.raises(
        ValueError, match=r"^answer of /v1/layers: has 1000000000000 bytes, but a right answer"
    ):
        prune(server)
    with pytest.raises(ValueError, match=rf"^answer of /v1/blobs/{LAYER['result']}: has 1000000000000 bytes"):
        Jobs(server.url, retries=0).result(LAYER)
    with pytest.raises(ValueError, match=r"^answer of /readyz: has 1000000000000 bytes"):
        Pare(server.url, retries=0).describe_host()


def test_a_long_refusal_is_cut(start: Start) -> None:
    long = b'{"code":"invalid_parameter","detail":"' + b"x" * 30_000 + b'"}'
    server = start(
        Reply(400, long, {"Content-Type": "application/problem+json"}), Reply(400, b"y" * 3_000_000)
    )
    pare = Pare(server.url)
    with pytest.raises(PareError, match=r"^invalid_parameter \(400\): x+…$") as caught:
        pare.describe_host()
    assert len(str(caught.value)) < 5100
    with pytest.raises(PareError, match=r"^unknown \(400\): y+$") as caught:
        pare.describe_host()
    assert len(str(caught.value)) < 300


FORGED = "busy\x1b[2J\r\nINFO all is well\u202e"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, FORGED.encode(), {"Content-Type": "text/plain"}),
        Reply(
            400,
            b'{"code":"a\\u001b[2J","detail":"b\\u001b[2J\\r\\nINFO","request_id":"c\\u009b"}',
            {"Content-Type": "application/problem+json"},
        ),
        Reply(301, b"", {"Location": "http://a/\x1b[2J"}),
    ],
    ids=["page", "problem", "redirection"],
)
def test_control_characters_of_a_refusal_are_escaped(start: Start, reply: Reply) -> None:
    with pytest.raises(PareError) as caught:
        Pare(start(reply).url).describe_host()
    error = caught.value
    assert r"\x1b[2J" in str(error)
    assert (str(error) + error.code + (error.request_id or "")).isprintable()


def test_control_characters_of_a_broken_answer_are_escaped(serve: Serve) -> None:
    with pytest.raises(ConnectionError) as caught:
        prune(serve(lambda connection: connection.sendall(b"SSH-2.0 \x1b[2J\r\n\r\n")))
    assert str(caught.value).endswith(r": does not answer with HTTP, but with SSH-2.0 \x1b[2J")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(start: Start, status: int) -> None:
    other = start(Reply())
    server = start(Reply(status, b"moved", {"Location": f"{other.url}/v1/layers"}))
    with pytest.raises(PareError, match=f"redirects to {other.url}/v1/layers, which is not followed"):
        Pare(server.url, "secret").prune_layer(WEIGHT, method="magnitude")
    assert (len(server.received), len(other.received)) == (1, 0)


def test_a_303_to_the_same_origin_is_followed_with_the_key_and_without_the_body(start: Start) -> None:
    later = Reply(303, b"", {"Location": "/v1/layers?call=x"})
    absolute = Reply(303)
    server = start(later, absolute, lambda received: solved(server.received[0]))
    url = server.url.replace("127.0.0.1", "localhost")
    absolute.headers["Location"] = f"{url}/v1/layers?call=x"
    pruned = Pare(url.replace("localhost", "LOCALHOST"), "secret").prune_layer(WEIGHT, method="magnitude")
    assert pruned.weight.shape == WEIGHT.shape
    assert server.log[1:] == ["GET /v1/layers?call=x"] * 2
    for received in server.received[1:]:
        assert received.headers["Authorization"] == "Bearer secret"
        assert (received.body, received.headers.get("Content-Type")) == (b"", None)


def test_a_circle_of_303_ends(start: Start) -> None:
    server = start(Reply(303, b"", {"Location": "/readyz"}))
    with pytest.raises(PareError, match="redirects to /readyz"):
        Pare(server.url).describe_host()
    assert len(server.received) == 25


def test_a_job_that_names_another_layer_is_refused(start: Start) -> None:
    job = b'{"id":"j","state":"done","layers":[{"name":"other\\u001b","state":"done","attempts":1,'
    job += b'"report":null,"result":"sha256:0","error":null}]}'
    server = start(lambda received: Reply(200 if received.method == "HEAD" else 202, job))
    with pytest.raises(ValueError, match=r'^job j: has the layer "other\\x1b", which was not submitted$'):
        list(prune_by_job(TransportOptions(server.url), [LayerToUpload("layer", WEIGHT)]))
