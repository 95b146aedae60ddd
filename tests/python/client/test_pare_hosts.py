"""Several hosts: statistics that layers share, and hosts that are lost."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import HostProcess
from pare_llm import HessianNotFoundError, Pare, PareHosts, TransportOptions

from client.fake_server import FakeServer, Reply, Start, problem, solved
from client.layers import bits_of, hessian_of, random_layer, upper_of

WEIGHT = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
PRUNED = np.float32([[0, 0, 0], [4, 5, 6]])
UPPER = np.array([1, 0, 0, 1, 0, 1], np.float32)


def fast(server: FakeServer) -> TransportOptions:
    return TransportOptions(server.url, retries=1, backoff_ms=1)


def methods(server: FakeServer) -> list[str]:
    return [received.method for received in server.received]


def test_statistics_are_sent_once_to_a_host_and_deleted_where_they_are_stored(start: Start) -> None:
    used, unused = start(solved), start(solved)
    hosts = PareHosts([fast(used), fast(unused)])
    digest = hosts.put_hessian(UPPER)
    for _ in range(3):
        hosts.prune_layer(WEIGHT, hessian=digest)
    hosts.delete_hessian(digest)
    assert methods(used) == ["PUT", "POST", "POST", "POST", "DELETE"]
    assert methods(unused) == []
    with pytest.raises(HessianNotFoundError, match="call put_hessian"):
        hosts.prune_layer(WEIGHT, hessian=digest)


def test_statistics_that_the_host_has_evicted_are_sent_again(start: Start) -> None:
    host = start(solved, problem(404, "hessian_not_found"), solved)
    hosts = PareHosts([fast(host)])
    hosts.prune_layer(WEIGHT, hessian=hosts.put_hessian(UPPER))
    assert methods(host) == ["PUT", "POST", "PUT", "POST"]


def test_statistics_that_are_too_large_to_be_stored_are_sent_with_each_layer(start: Start) -> None:
    host = start(problem(413, "too_large"), solved)
    hosts = PareHosts([fast(host)])
    digest = hosts.put_hessian(UPPER)
    for _ in range(2):
        hosts.prune_layer(WEIGHT, hessian=digest)
    assert host.log == ["PUT /v1/hessians/" + digest, "POST /v1/layers", "POST /v1/layers"]
    assert b'"hessian_upper"' in host.received[2].body


def test_validation_statistics_go_with_the_statistics(start: Start) -> None:
    host = start(solved, problem(404, "hessian_not_found"), solved)
    refusing = start(problem(413, "too_large"), solved)
    for server in (host, refusing):
        hosts = PareHosts([fast(server)])
        digest = hosts.put_hessian(UPPER, validation_hessian_upper=UPPER)
        assert digest != hosts.put_hessian(UPPER)
        hosts.prune_layer(WEIGHT, hessian=digest)
    hosts.prune_layer(WEIGHT, hessian_upper=UPPER, validation_hessian_upper=UPPER)
    bodies = [b'"validation_hessian_upper"' in received.body for received in host.received]
    assert (methods(host), bodies) == (["PUT", "POST", "PUT", "POST"], [True, False, True, False])
    bodies = [b'"validation_hessian_upper"' in received.body for received in refusing.received]
    assert (methods(refusing), bodies) == (["PUT", "POST", "POST"], [True, True, True])


@pytest.mark.parametrize("name", ["hessian_upper", "inputs", "validation_hessian_upper"])
def test_other_statistics_beside_a_digest_are_refused(start: Start, name: str) -> None:
    hosts = PareHosts([fast(start(solved))])
    digest = hosts.put_hessian(UPPER)
    tensors: Any = {name: UPPER}
    with pytest.raises(ValueError, match=f"{name}: cannot be given beside the digest of stored statistics"):
        hosts.prune_layer(WEIGHT, hessian=digest, **tensors)


def test_the_layer_of_a_lost_host_goes_to_another_host(start: Start) -> None:
    down, up = start(problem(503, "device_lost")), start(solved)
    lost: list[tuple[str, str]] = []
    hosts = PareHosts([fast(down), fast(up)], on_host_lost=lambda url, error: lost.append((url, str(error))))
    digest = hosts.put_hessian(UPPER)
    for _ in range(2):
        np.testing.assert_array_equal(hosts.prune_layer(WEIGHT, hessian=digest).weight, PRUNED)
    assert lost == [(down.url, "device_lost (503): detail of device_lost")]
    assert methods(down) == ["PUT", "PUT"]
    assert methods(up) == ["PUT", "POST", "POST"]
    hosts.delete_hessian(digest)


def test_the_last_error_is_raised_if_all_hosts_are_lost(start: Start) -> None:
    servers = [start(solved), start(solved)]
    hosts = PareHosts([fast(server) for server in servers])
    for server in servers:
        server.close()
    with pytest.raises(ConnectionError, match="refused"):
        hosts.prune_layer(WEIGHT, method="magnitude")


def test_a_lost_host_is_used_again_when_it_is_reachable(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pare_llm.client.pare_hosts._RECHECK_SECONDS", 0.2)
    ready = Reply(body=b'{"backend":"cpu","adapter":{"name":"fake"}}')
    flaky = start(problem(503, "no_device"), problem(503, "no_device"), ready, solved)
    other = start(solved)
    hosts = PareHosts([fast(flaky), fast(other)])
    hosts.prune_layer(WEIGHT, method="magnitude")
    time.sleep(0.2)
    hosts.prune_layer(WEIGHT, method="magnitude")
    assert flaky.log[2:] == ["GET /readyz", "POST /v1/layers?method=magnitude"]
    assert len(other.received) == 1


def test_a_permanent_refusal_is_raised_and_the_host_is_not_lost(start: Start) -> None:
    host = start(problem(422, "non_finite"), solved)
    hosts = PareHosts([fast(host), fast(start(solved))])
    with pytest.raises(Exception, match="non_finite"):
        hosts.prune_layer(WEIGHT, method="magnitude")
    hosts.prune_layer(WEIGHT, method="magnitude")
    assert len(host.received) == 2


def test_there_must_be_a_host() -> None:
    with pytest.raises(ValueError, match="hosts: must be at least one"):
        PareHosts([])


def test_two_real_hosts_give_the_results_of_one_even_if_one_is_killed(host: HostProcess) -> None:
    weight, inputs = random_layer()
    upper = upper_of(hessian_of(inputs))
    layers = [weight * scale for scale in range(1, 13)]
    second = HostProcess()
    lost: list[str] = []
    options = [TransportOptions(url, retries=1, backoff_ms=10) for url in (second.url, host.url)]
    hosts = PareHosts(options, on_host_lost=lambda url, _: lost.append(url))
    digest = hosts.put_hessian(upper)
    assert [description.backend for description in hosts.describe_hosts()] == ["cpu", "cpu"]
    with ThreadPoolExecutor(len(hosts)) as executor:
        futures = [executor.submit(hosts.prune_layer, layer, hessian=digest) for layer in layers]
        futures[0].result()
        second.kill()
        results = [future.result() for future in futures]
    hosts.delete_hessian(digest)
    single = Pare(host.url)
    for layer, result in zip(layers, results, strict=True):
        expected = single.prune_layer(layer, hessian_upper=upper)
        np.testing.assert_array_equal(bits_of(result.weight), bits_of(expected.weight))
    assert lost == [second.url]
