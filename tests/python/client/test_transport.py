"""How the client sends requests: repetitions and their pauses, connections, and the timeout."""

import socket
import time

import numpy as np
import pytest
from pare_llm import BusyError, Pare, PareError

from client.fake_server import Received, Reply, Start, problem, solved
from client.raw_server import ANSWER, RawServer, read_request

WEIGHT = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
PRUNED = np.float32([[0, 0, 0], [4, 5, 6]])


def prune(pare: Pare) -> None:
    np.testing.assert_array_equal(pare.prune_layer(WEIGHT, method="magnitude").weight, PRUNED)


def test_a_request_has_the_key_the_media_type_and_the_length(start: Start) -> None:
    server = start(solved)
    prune(Pare(server.url, "secret"))
    received = server.received[0]
    assert received.headers["Authorization"] == "Bearer secret"
    assert received.headers["Content-Type"] == "application/vnd.safetensors"
    assert received.headers["Content-Length"] == str(len(received.body))
    assert "Transfer-Encoding" not in received.headers


def test_only_parameters_that_are_not_none_are_sent(start: Start) -> None:
    server = start(solved)
    Pare(server.url).prune_layer(WEIGHT, pattern="2:4", error=False, sparsity=None)  # type: ignore[arg-type]
    assert server.log == ["POST /v1/layers?pattern=2%3A4&error=false"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_path_of_the_base_url_is_kept(start: Start, slash: str) -> None:
    server = start(solved)
    prune(Pare(f"{server.url}/edge{slash}"))
    assert server.log == ["POST /edge/v1/layers?method=magnitude"]


@pytest.mark.parametrize("url", ["", "localhost:8787", "ftp://host", "http://"])
def test_a_base_url_must_be_http_or_https(url: str) -> None:
    with pytest.raises(ValueError, match="must be an http or https URL"):
        Pare(url)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504, 520, 524, 530])
def test_a_request_is_repeated_after_a_transient_status_with_the_whole_body(
    start: Start, status: int
) -> None:
    server = start(problem(status, "busy"), problem(status, "busy"), solved)
    prune(Pare(server.url, backoff_ms=1))
    assert len(server.received) == 3
    assert len({received.body for received in server.received}) == 1


@pytest.mark.parametrize("status", [307, 308, 400, 401, 404, 409, 413, 422, 500, 519, 531])
def test_a_request_is_not_repeated_after_another_status(start: Start, status: int) -> None:
    server = start(problem(status, "not_found"))
    with pytest.raises(PareError):
        prune(Pare(server.url, backoff_ms=1))
    assert len(server.received) == 1


def test_a_request_is_repeated_after_a_connection_that_was_cut_in_the_middle_of_the_answer(
    start: Start,
) -> None:
    def cut(received: Received) -> Reply:
        reply = solved(received)
        reply.cut_after = 40
        return reply

    server = start(cut, solved)
    prune(Pare(server.url, backoff_ms=1))
    assert len(server.received) == 2


def test_an_answer_that_is_always_cut_is_a_connection_error(start: Start) -> None:
    server = start(Reply(body=b"0123456789", cut_after=4))
    with pytest.raises(ConnectionError, match=rf"^{server.url}: the answer ended after 4 of 10 bytes"):
        prune(Pare(server.url, retries=1, backoff_ms=1))
    assert len(server.received) == 2


def test_a_server_that_is_not_there_is_a_connection_error(start: Start) -> None:
    server = start(solved)
    server.close()
    failures: list[tuple[object, float]] = []
    pare = Pare(server.url, retries=2, backoff_ms=1, on_retry=lambda *failure: failures.append(failure))
    with pytest.raises(ConnectionError, match=rf"^{server.url}: .*refused"):
        prune(pare)
    assert [type(error) for error, _ in failures] == [ConnectionError, ConnectionError]


def test_the_last_refusal_is_raised_after_all_retries(start: Start) -> None:
    server = start(problem(429, "busy", Retry_After="0"))
    waits: list[float] = []
    with pytest.raises(BusyError) as caught:
        prune(Pare(server.url, retries=3, backoff_ms=2, on_retry=lambda _, wait_ms: waits.append(wait_ms)))
    assert caught.value.retry_after == 0
    assert len(server.received) == 4
    for wait, doubled in zip(waits, [2, 4, 8], strict=True):
        assert doubled <= wait <= 2 * doubled


def test_a_pause_is_at_least_the_retry_after(start: Start) -> None:
    server = start(problem(503, "no_device", Retry_After="1"), solved)
    started = time.monotonic()
    prune(Pare(server.url, backoff_ms=1))
    assert 0.99 < time.monotonic() - started < 3


def test_a_retry_after_of_more_than_five_minutes_is_raised_at_once(start: Start) -> None:
    server = start(problem(503, "no_device", Retry_After="301"))
    with pytest.raises(PareError) as caught:
        prune(Pare(server.url))
    assert (caught.value.code, caught.value.retry_after) == ("no_device", 301)
    assert len(server.received) == 1


def test_requests_share_one_connection(start: Start) -> None:
    server = start(problem(404, "hessian_not_found"), solved, Reply(204), solved)
    pare = Pare(server.url)
    pare.delete_hessian("sha256:0")
    prune(pare)
    pare.delete_hessian("sha256:0")
    prune(pare)
    assert len({received.client for received in server.received}) == 1


def test_a_connection_that_the_server_has_closed_while_it_was_idle_costs_no_retry(start: Start) -> None:
    def solve_and_close(received: Received) -> Reply:
        reply = solved(received)
        reply.closes = True
        return reply

    server = start(solve_and_close)
    pare = Pare(server.url, retries=0)
    for _ in range(3):
        prune(pare)
    assert len({received.client for received in server.received}) == 3


def test_a_refusal_that_arrives_before_the_body_was_sent_is_read(start: Start) -> None:
    refusal = problem(413, "too_large")
    refusal.is_early = True
    server = start(refusal)
    with pytest.raises(PareError, match="too_large"):
        Pare(server.url, retries=0).prune_layer(np.zeros((2000, 2000), np.float32), method="magnitude")


def test_a_pause_that_would_exceed_the_timeout_is_not_begun(start: Start) -> None:
    server = start(problem(429, "busy", Retry_After="60"))
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        prune(Pare(server.url, timeout=5))
    assert time.monotonic() - started < 1
    assert isinstance(caught.value.__context__, BusyError)


def test_a_connection_that_the_server_closes_under_a_request_costs_no_retry(start: Start) -> None:
    served: list[socket.socket] = []

    def answer_one(connection: socket.socket) -> None:
        # The second request of a connection is read before the connection is closed.
        read_request(connection)
        connection.sendall(ANSWER)
        read_request(connection)
        served.append(connection)

    server = RawServer(answer_one)
    pare = Pare(server.url, retries=0)
    for _ in range(3):
        assert pare.describe_host().backend == "cpu"
    assert len(served) == 2
    server.close()
