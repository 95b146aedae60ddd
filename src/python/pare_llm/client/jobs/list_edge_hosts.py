"""Asks an edge, which is Pare's Cloudflare Worker in front of GPU hosts, for its hosts."""

from __future__ import annotations

from pare_llm.client.errors import PareError
from pare_llm.client.jobs.messages import EdgeHost
from pare_llm.client.parse_answer import parse_answer
from pare_llm.client.transport import Transport, TransportOptions


def list_edge_hosts(edge: TransportOptions) -> list[EdgeHost] | None:
    """List the hosts that are alive.

    Returns:
        the hosts, or None if the server refuses to list hosts. Such a server is a host itself, an edge
        without a registry of hosts, or an edge where the API key lacks the scope `metrics`.

    Raises:
        PareError, ConnectionError: if the server fails. Transient failures are raised after the last attempt.
        ValueError: if the answer is malformed.
    """
    path = "/v1/hosts"
    try:
        answer = Transport(edge).send("GET", path)
    except PareError as error:
        if not error.is_transient and error.status < 500:
            return None
        raise
    hosts = parse_answer(answer, path, "a list of hosts", ["hosts"])["hosts"]
    return [{"url": host["url"], "backend": host["backend"], "adapter": host["adapter"]} for host in hosts]
