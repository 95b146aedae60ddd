"""The ways to a server: proxies, certificates, names, the environment, and clients in other processes."""

import multiprocessing
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from pare_llm import AsyncPare, Pare, PareHosts, TransportOptions
from pare_llm.edge import Jobs, Uploads

from client.fake_server import Reply, Start
from client.raw_server import ANSWER, READY, RawServer, read_head, read_request


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "PARE_SERVER", "PARE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate that it has signed itself, for 127.0.0.1 and host.test."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:host.test"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", names, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(path.with_suffix(".crt").read_bytes())
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def client_context(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.with_suffix(".crt"))


def answer_ready(connection: socket.socket) -> None:
    while read_head(connection):
        connection.sendall(ANSWER)


@pytest.fixture
def secure(certificate: Path) -> Iterator[RawServer]:
    """Return a server with TLS that describes its device."""
    server = RawServer(answer_ready, server_context(certificate))
    yield server
    server.close()


class Proxy:
    """A proxy that answers requests for http, and opens tunnels to `target` for https."""

    def __init__(self, target: int | None = None) -> None:
        self.heads: list[bytes] = []
        self._target = target
        self.server = RawServer(self._serve)
        self.address = f"127.0.0.1:{self.server.port}"

    def _serve(self, connection: socket.socket) -> None:
        head = read_request(connection)
        self.heads.append(head)
        if not head.startswith(b"CONNECT "):
            connection.sendall(ANSWER)
            return
        assert self._target is not None
        upstream = socket.create_connection(("127.0.0.1", self._target))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=pump, args=(upstream, connection), daemon=True).start()
        pump(connection, upstream)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        sink.close()


def failures_of(pare: Pare) -> tuple[str, float]:
    """Return the error of a request, and the seconds after which it was raised."""
    started = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        pare.describe_host()
    return str(caught.value), time.monotonic() - started


def test_http_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    monkeypatch.setenv("HTTP_PROXY", f"http://me:s%40cret@{proxy.address}")
    assert Pare("http://host.test:8000/edge", "key").describe_host().adapter == "fake"
    (head,) = proxy.heads
    assert head.startswith(b"GET http://host.test:8000/edge/readyz HTTP/1.1\r\n")
    assert b"\r\nHost: host.test:8000\r\n" in head
    assert b"authorization: Basic " + b64encode(b"me:s@cret") in head
    assert b"Authorization: Bearer key" in head


def test_https_goes_through_a_tunnel_that_hides_the_key(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, secure: RawServer
) -> None:
    proxy = Proxy(secure.port)
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    pare = Pare("https://host.test", "key", ssl_context=client_context(certificate))
    for _ in range(2):
        assert pare.describe_host().backend == "cpu"
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT host.test:443 HTTP/1.")
    assert b"Bearer" not in head


def test_no_proxy_and_this_machine_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    proxy = Proxy()
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    assert Pare(start(Reply(body=READY)).url).describe_host().backend == "cpu"
    monkeypatch.setenv("NO_PROXY", "other.test, .invalid")
    failures_of(Pare("http://no-such-host.invalid", retries=0))
    assert proxy.heads == []


def test_an_error_names_the_proxy_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    proxy.server.close()
    monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cret@{proxy.address}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cret@{proxy.address}")
    for scheme in ("http", "https"):
        text, _ = failures_of(Pare(f"{scheme}://host.test", retries=0))
        assert text.startswith(f"{scheme}://host.test through the proxy http://{proxy.address}: ")
        assert "refused" in text
        assert "s3cret" not in text
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:s3cret@127.0.0.1:1")
    with pytest.raises(ValueError, match=r"^proxy for http: must be an http or https URL, got .* socks5$"):
        Pare("http://host.test").describe_host()


def test_an_unknown_name_is_not_retried() -> None:
    text, seconds = failures_of(Pare("http://no-such-host.invalid"))
    assert text.startswith("http://no-such-host.invalid: ")
    assert seconds < 20  # five retries take at least 15.5 s, and the name server may be slow


def test_a_name_server_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    errors: list[object] = []
    text, _ = failures_of(
        Pare("http://host.test", retries=2, backoff_ms=1, on_retry=lambda error, _: errors.append(error))
    )
    assert "Temporary failure in name resolution" in text
    assert len(errors) == 2


@pytest.mark.parametrize("kind", ["certificate", "name", "no TLS"])
def test_a_failure_of_tls_is_not_retried(kind: str, certificate: Path, secure: RawServer) -> None:
    plain = RawServer(lambda connection: connection.sendall(ANSWER))
    url, context = {
        "certificate": (secure.url, None),
        "name": (f"https://localhost:{secure.port}", client_context(certificate)),
        "no TLS": (f"https://127.0.0.1:{plain.port}", client_context(certificate)),
    }[kind]
    text, seconds = failures_of(Pare(url, ssl_context=context))
    assert text.startswith(f"{url}: [SSL: ")
    assert seconds < 10
    plain.close()


def test_a_handshake_that_breaks_is_retried(certificate: Path, secure: RawServer) -> None:
    calls = 0

    def break_first(connection: socket.socket) -> None:
        nonlocal calls
        calls += 1
        upstream = socket.create_connection(("127.0.0.1", secure.port))
        connection.recv(65536, socket.MSG_PEEK)
        if calls > 1:
            threading.Thread(target=pump, args=(upstream, connection), daemon=True).start()
            pump(connection, upstream)

    flaky = RawServer(break_first)
    pare = Pare(f"https://127.0.0.1:{flaky.port}", backoff_ms=1, ssl_context=client_context(certificate))
    assert pare.describe_host().backend == "cpu"
    assert calls == 2


def test_the_timeout_ends_a_handshake_and_a_slow_answer_over_tls(certificate: Path) -> None:
    silent = RawServer(lambda connection: time.sleep(10))

    def drip(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.05)

    slow = RawServer(drip, server_context(certificate))
    for port in (silent.port, slow.port):
        pare = Pare(f"https://127.0.0.1:{port}", timeout=0.5, ssl_context=client_context(certificate))
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"timeout of 0\.5 s"):
            pare.describe_host()
        assert time.monotonic() - started < 3
    silent.close()
    slow.close()


@pytest.mark.parametrize(
    "url",
    ["http://me:s3cret@127.0.0.1:1", "http://me:s3c@ret/x@host", "ftp://me:s3cret@host", "me:s3cret@host"],
)
def test_a_url_with_a_password_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="must not contain @, a user name or a password") as caught:
        Pare(url)
    assert "s3c" not in str(caught.value)


def test_a_key_with_a_line_break_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValueError, match=r"^api_key: must consist of printable ASCII") as caught:
        Pare("http://127.0.0.1:1", "s3cret\n")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(TransportOptions("http://127.0.0.1:1", "s3cret"))


def test_the_server_and_the_key_may_be_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    server = start(Reply(body=READY))
    with pytest.raises(ValueError, match=r'^server URL "": must be .* in base_url or PARE_SERVER$'):
        Pare()
    monkeypatch.setenv("PARE_SERVER", server.url)
    monkeypatch.setenv("PARE_API_KEY", "from the environment")
    Pare().describe_host()
    Pare(api_key="given").describe_host()
    PareHosts([server.url]).describe_hosts()
    keys = [received.headers["Authorization"] for received in server.received]
    assert keys == ["Bearer from the environment", "Bearer given", "Bearer from the environment"]


@pytest.mark.parametrize("kind", [Pare, AsyncPare, Jobs, Uploads], ids=lambda kind: kind.__name__)
def test_a_client_can_be_pickled(kind: type) -> None:
    copy = pickle.loads(pickle.dumps(kind("http://127.0.0.1:1", "key", retries=7)))
    assert type(copy) is kind
    assert copy._transport.options == TransportOptions("http://127.0.0.1:1", "key", retries=7)


def describe(pare: Pare) -> str:
    return pare.describe_host().backend


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_client_that_was_used_works_in_another_process(start: Start, method: str) -> None:
    server = start(Reply(body=READY))
    pare = Pare(server.url)
    describe(pare)
    if method == "spawn":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(describe, (pare,)) == "cpu"
    else:
        child = os.fork()
        if child == 0:
            os._exit(0 if describe(pare) == "cpu" else 1)
        assert os.waitpid(child, 0)[1] == 0
    describe(pare)
    first, other, last = (received.client for received in server.received)
    assert first == last != other
