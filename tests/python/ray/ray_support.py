"""A Ray cluster on this machine, and a host whose requests the tests see before they are answered."""

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import ray
import transformers
from conftest import MODELS, ROOT
from ray._private.node import Node
from ray.cluster_utils import Cluster

STORE_BYTES = 100 << 20
"""The memory of a node for objects, which is near the least that Ray accepts."""

LAYERS = 12
"""The number of layers of the model that the tests prune."""


@contextmanager
def cluster_of_two_nodes() -> Iterator[Cluster]:
    """Start a cluster whose head solves no layers, and two nodes that may solve one layer at a time each."""
    # The processes of the nodes inherit the environment. Workers import the package from the repository.
    os.environ["PYTHONPATH"] = str(ROOT / "src/python")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            add_node(cluster)
        cluster.connect()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_node(cluster: Cluster) -> None:
    """Start a node that may solve one layer at a time."""
    cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES, resources={"pare_host": 1})


def save_first_block(folder: Path) -> None:
    """Save a trained model with its tokenizer, but only with the first of its blocks."""
    model = transformers.OPTForCausalLM.from_pretrained(MODELS / "opt-sotu", num_hidden_layers=1)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(MODELS / "opt-sotu").save_pretrained(folder)


def solving_workers() -> list[psutil.Process]:
    """Return the worker processes of this test's cluster that solve a layer now."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "_solve_layer" in " ".join(child.cmdline())]


def workers_of(node: Node) -> list[psutil.Process]:
    """Return the worker processes of a node."""
    return psutil.Process(node.all_processes["raylet"][0].process.pid).children()


class ObservedHost:
    """A server that passes the requests for layers on to a host, after it has called `before_layer`."""

    def __init__(self, url: str, before_layer: Callable[[int], None]) -> None:
        """Start the server. `before_layer` is called with the number of the request, counted from 1."""
        self.requests = 0
        lock = threading.Lock()
        observed = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    observed.requests += 1
                    number = observed.requests
                before_layer(number)
                self._forward(body)

            def do_PUT(self) -> None:
                self._forward(self.rfile.read(int(self.headers["Content-Length"])))

            def _forward(self, body: bytes) -> None:
                headers = {"Content-Type": self.headers["Content-Type"]}
                request = urllib.request.Request(url + self.path, body, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request) as response:
                        status, kind, answer = response.status, response.headers, response.read()
                except urllib.error.HTTPError as error:
                    status, kind, answer = error.code, error.headers, error.read()
                self.send_response(status)
                self.send_header("Content-Type", kind["Content-Type"] or "application/octet-stream")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients are killed
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "ObservedHost":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
