"""Fixtures that the tests of the client use."""

from collections.abc import Iterator

import pytest
from conftest import HostProcess
from pare_llm import Pare

from client.fake_server import Answer, FakeServer, Start


@pytest.fixture(scope="session")
def pare(host: HostProcess) -> Pare:
    """Return a client of the shared host."""
    return Pare(host.url)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a fake server. All servers are stopped after the test."""
    servers: list[FakeServer] = []

    def start_server(*answers: Answer) -> FakeServer:
        servers.append(FakeServer(*answers))
        return servers[-1]

    yield start_server
    for server in servers:
        server.close()
