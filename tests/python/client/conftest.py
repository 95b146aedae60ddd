"""Fixtures that the tests of the client use."""

from collections.abc import Iterator

import pytest

from client.fake_server import Answer, FakeServer, Start


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
