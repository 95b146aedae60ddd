"""A small HTTP server that gives the answers that a test has prepared, and records the requests."""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import urllib3
from safetensors.numpy import load, save


@dataclass
class Received:
    """A request that the server has received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    # The address of the client, whose port differs between connections.
    client: tuple[str, int]


@dataclass
class Reply:
    """An answer to a request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    # The number of bytes of the body after which the connection is cut.
    cut_after: int | None = None
    # Whether the connection is closed after the answer, although the answer does not announce it.
    closes: bool = False
    # Whether the answer is sent before the body of the request is read, and the connection is closed.
    is_early: bool = False


Answer = Reply | Callable[[Received], Reply]


def problem(status: int, code: str, **headers: str) -> Reply:
    """Return a refusal as the HTTP contract describes it. In the names of `headers`, `_` stands for `-`."""
    body = {"code": code, "title": "T", "detail": f"detail of {code}", "status": status, "request_id": "r-1"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/problem+json", **names})


def measure(
    before: np.ndarray, after: np.ndarray, tensors: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """Return the figures of a report: tr(DHDᵀ) and its share of tr(WHWᵀ), for the statistics in `tensors`."""
    cols = before.shape[1]
    if "hessian" in tensors:
        hessian = tensors["hessian"].astype(float)
    elif "hessian_upper" in tensors:
        upper = np.zeros((cols, cols))
        upper[np.triu_indices(cols)] = tensors["hessian_upper"]
        hessian = upper + np.triu(upper, 1).T
    elif "inputs" in tensors:
        hessian = tensors["inputs"].astype(float).T @ tensors["inputs"]
    else:
        return {"loss": None, "relative_error": None}
    error, whole = (float(np.trace(m @ hessian @ m.T)) for m in (after.astype(float) - before, before))
    return {"loss": error, "relative_error": error / whole}


# The bodies of stored statistics, by their digests.
STORED: dict[str, bytes] = {}


def solved(received: Received) -> Reply:
    """Answer with the weight of the request, without its smallest entries. Store statistics, and be ready."""
    url = urlsplit(received.path)
    if received.method == "GET":
        return Reply(body=b'{"backend": "cpu", "adapter": {"name": "fake"}}')
    if received.method == "POST" and not received.body:
        return problem(400, "malformed_body")
    if received.method != "POST":
        if received.method == "PUT":
            STORED[url.path.rpartition("/")[2]] = received.body
        return Reply(204)
    query = dict(parse_qsl(url.query))
    tensors = load(received.body) | load(STORED.get(query.get("hessian", ""), save({})))
    weight = tensors["weight"]
    rows, cols = weight.shape
    if ":" in (pattern := query.get("pattern", "")):
        keep, group = map(int, pattern.split(":"))
        mask = np.arange(cols) % group < keep  # the first columns of each group
        mask = np.broadcast_to(mask, (rows, cols))
    else:
        order = np.abs(weight).argsort(axis=None, kind="stable")
        mask = np.ones(rows * cols, bool)
        mask[order[: round(float(query.get("sparsity", 0.5)) * rows * cols)]] = False
        mask = mask.reshape(rows, cols)
    zeros = int((~mask).sum())
    seconds = dict.fromkeys(["read", "factor", "solve", "refit", "total"], 0.0)
    report = {
        **{"method": "sparsegpt", "rows": rows, "cols": cols, "pattern": "unstructured", "sparsity": 0.5},
        **{"zeros": zeros, "damping": 0.01, "seconds": seconds, **measure(weight, weight * mask, tensors)},
        **{"backend": "cpu", "adapter": "fake", "factor_reused": False},
    }
    bits = np.packbits(mask, axis=1, bitorder="little")
    return Reply(body=save({"weight": weight * mask, "mask": bits}, {"report": json.dumps(report)}))


def forward(url: str, received: Received) -> Reply:
    """Send a request on to the host at `url`, and return its answer."""
    headers = {name: value for name, value in received.headers.items() if name != "Host"}
    answer = urllib3.request(received.method, url + received.path, body=received.body, headers=headers)
    return Reply(answer.status, answer.data, {"Content-Type": answer.headers.get("Content-Type", "")})


class FakeServer:
    """Answers each request with the next of `answers`. The last answer is repeated."""

    def __init__(self, *answers: Answer, keeps_bodies: bool = True) -> None:
        """Start the server. Without `keeps_bodies`, the bodies of the requests are read but not stored."""
        self.received: list[Received] = []
        self._answers = list(answers)
        self._keeps_bodies = keeps_bodies
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                fake._answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def log(self) -> list[str]:
        """The method and the path of each request."""
        return [f"{received.method} {received.path}" for received in self.received]

    def close(self) -> None:
        """Stop the server, so that its port refuses connections."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        is_early = isinstance(answer, Reply) and answer.is_early
        body = b"" if is_early else self._read_body(handler)
        received = Received(
            handler.command, handler.path, dict(handler.headers.items()), body, handler.client_address
        )
        with self._lock:
            self.received.append(received)
        reply = answer if isinstance(answer, Reply) else answer(received)
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(reply.body[: reply.cut_after])
        if reply.cut_after is not None or reply.closes or is_early:
            handler.close_connection = True
            if not is_early:
                handler.connection.shutdown(socket.SHUT_RDWR)

    def _read_body(self, handler: BaseHTTPRequestHandler) -> bytes:
        remaining = int(handler.headers.get("Content-Length", 0))
        chunks = []
        while remaining > 0:
            chunk = handler.rfile.read(min(remaining, 65536))
            remaining -= len(chunk)
            if self._keeps_bodies:
                chunks.append(chunk)
        return b"".join(chunks)


Start = Callable[..., FakeServer]
"""The type of the fixture `start`, which is called with the answers of a new server."""
