"""Layers and jobs at a real edge, with a real host behind it."""

import time

import numpy as np
import pytest
import torch
from conftest import EdgeProcess
from pare_llm import Pare, PareError, PareHosts, TransportOptions
from pare_llm.client.layer_file import encode_parts
from pare_llm.edge import (
    JobFailedError,
    JobLayerRequest,
    Jobs,
    LayerToUpload,
    Uploads,
    list_edge_hosts,
    prune_by_job,
)

from client.layers import bits_of, hessian_of, random_layer, upper_of

# A float32 weight of this size exceeds the body limit of the edge.
LARGE_ROWS = EdgeProcess.BODY_LIMIT // (4 * 40) + 1


def test_a_layer_within_the_body_limit_passes_through_the_edge(edge: EdgeProcess) -> None:
    weight, inputs = random_layer()
    through = Pare(edge.url).prune_layer(weight, inputs=inputs)
    direct = Pare(edge.host_url).prune_layer(weight, inputs=inputs)
    np.testing.assert_array_equal(bits_of(through.weight), bits_of(direct.weight))


def test_a_layer_over_the_body_limit_is_pruned_by_a_job_with_the_same_result(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(rows=LARGE_ROWS)
    tensor = torch.from_numpy(weight)
    submitted: list[int] = []
    pare = Pare(edge.url, on_job=lambda _, layers: submitted.append(layers))
    through = pare.prune_layer(tensor, inputs=torch.from_numpy(inputs), pattern="2:4", dtype="BF16")
    direct = Pare(edge.host_url).prune_layer(
        tensor, inputs=torch.from_numpy(inputs), pattern="2:4", dtype="BF16"
    )
    assert submitted == [1]
    assert through.weight.dtype == torch.bfloat16
    np.testing.assert_array_equal(bits_of(through.weight), bits_of(direct.weight))
    np.testing.assert_array_equal(through.mask, direct.mask)
    assert through.report["relative_error"] == direct.report["relative_error"]


def test_a_refusal_of_a_large_layer_has_the_code_of_the_host(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(rows=LARGE_ROWS)
    weight[3, 4] = np.nan
    with pytest.raises(PareError) as caught:
        Pare(edge.url).prune_layer(weight, inputs=inputs)
    assert (caught.value.code, caught.value.status) == ("non_finite", 422)


def test_a_large_layer_with_stored_statistics_must_send_them(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(rows=LARGE_ROWS)
    upper = upper_of(hessian_of(inputs))
    pare = Pare(edge.url)
    digest = pare.put_hessian(upper)
    with pytest.raises(PareError, match="too_large"):
        pare.prune_layer(weight, hessian=digest)
    hosts = PareHosts([pare])
    result = hosts.prune_layer(weight, hessian=hosts.put_hessian(upper), sparsity=0.6)
    hosts.delete_hessian(digest)
    direct = Pare(edge.host_url).prune_layer(weight, hessian_upper=upper, sparsity=0.6)
    np.testing.assert_array_equal(bits_of(result.weight), bits_of(direct.weight))


def test_the_timeout_of_a_large_layer_counts_for_all_its_requests(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(rows=LARGE_ROWS, seed=7)
    started = time.monotonic()
    # The job is asked for after two seconds only.
    with pytest.raises(TimeoutError, match=r"timeout of 1\.5 s"):
        Pare(edge.url, timeout=1.5).prune_layer(weight, inputs=inputs)
    assert time.monotonic() - started < 2


def test_a_job_is_submitted_once_for_a_key_and_followed_to_its_results(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(seed=3)
    uploads, jobs = Uploads(edge.url), Jobs(edge.url)
    hessian = uploads.upload_blob(encode_parts({"hessian_upper": upper_of(hessian_of(inputs))}))
    layers: list[JobLayerRequest] = [
        {
            "name": f"layer {scale}",
            "weight": uploads.upload_blob(encode_parts({"weight": weight * np.float32(scale)})),
            "hessian": hessian,
            "parameters": {"pattern": "2:4"},
        }
        for scale in (1, 2)
    ]
    job = jobs.submit(layers, idempotency_key="key 1")
    assert jobs.submit(layers, idempotency_key="key 1")["id"] == job["id"]
    named = jobs.submit(layers[:1], name="one layer of two")
    page = jobs.list(limit=1)
    assert [(listed["id"], listed["name"]) for listed in page["jobs"]] == [(named["id"], "one layer of two")]
    assert jobs.list(limit=1, cursor=page["cursor"])["jobs"][0]["id"] == job["id"]
    with pytest.raises(PareError, match="idempotency_conflict"):
        jobs.submit(layers[:1], idempotency_key="key 1")
    ended = list(jobs.follow(job["id"], poll_ms=50))
    assert sorted(layer["name"] for layer in ended) == ["layer 1", "layer 2"]
    assert jobs.get(job["id"])["state"] == "done"
    results = {layer["name"]: jobs.result(layer) for layer in ended}
    direct = Pare(edge.host_url).prune_layer(
        weight, hessian_upper=upper_of(hessian_of(inputs)), pattern="2:4"
    )
    np.testing.assert_array_equal(bits_of(results["layer 1"].weight), bits_of(direct.weight))
    np.testing.assert_array_equal(results["layer 2"].mask, direct.mask)
    assert isinstance(jobs.result(ended[0], like=torch.zeros(1)).weight, torch.Tensor)


def test_an_invalid_job_and_an_unknown_job_are_refused(edge: EdgeProcess) -> None:
    with pytest.raises(PareError, match=r"invalid_parameter.*digest|sha256"):
        Jobs(edge.url).submit([{"name": "layer", "weight": "sha256:0"}])
    with pytest.raises(PareError, match="not_found"):
        Jobs(edge.url).get("0" * 32)


def test_a_job_that_is_cancelled_fails_its_layers(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(rows=2000, cols=512)
    jobs = Jobs(edge.url)
    blob = Uploads(edge.url).upload_blob(encode_parts({"weight": weight, "inputs": inputs}))
    layers: list[JobLayerRequest] = [
        {"name": f"layer {i}", "weight": blob, "parameters": {"method": "alps", "damping": 0.01 + 0.001 * i}}
        for i in range(8)
    ]
    job = jobs.submit(layers)
    jobs.cancel(job["id"])
    ended = list(jobs.follow(job["id"], poll_ms=50))
    codes = [layer["error"]["code"] for layer in ended if layer["error"]]
    assert jobs.get(job["id"])["state"] in ("failed", "cancelled")
    assert "cancelled" in codes
    failed = next(layer for layer in ended if layer["error"])
    with pytest.raises(ValueError, match=f"has no result, because its state is {failed['state']}"):
        jobs.result(failed)


def test_prune_by_job_yields_the_layers_that_were_solved_and_then_raises_the_failures(
    edge: EdgeProcess,
) -> None:
    weight, inputs = random_layer(seed=4)
    upper = torch.from_numpy(upper_of(hessian_of(inputs)))
    broken = torch.full((2, 40), torch.inf)
    layers = [
        LayerToUpload("first", torch.from_numpy(weight), hessian_upper=upper, parameters={"sparsity": 0.7}),
        LayerToUpload("broken", broken, hessian_upper=upper),
        LayerToUpload("second", torch.from_numpy(-weight), hessian_upper=upper, parameters={"sparsity": 0.7}),
    ]
    solved = prune_by_job(TransportOptions(edge.url), layers, poll_ms=50)
    results = dict([next(solved), next(solved)])
    with pytest.raises(JobFailedError, match="broken: non_finite") as caught:
        next(solved)
    assert [failure.name for failure in caught.value.failures] == ["broken"]
    assert not caught.value.is_transient
    assert set(results) == {"first", "second"}
    torch.testing.assert_close(results["first"].weight, -results["second"].weight, rtol=0, atol=0)


def test_a_job_uses_the_validation_statistics_of_its_layers(edge: EdgeProcess) -> None:
    weight, inputs = random_layer(seed=6)
    upper = upper_of(hessian_of(inputs[:50]))
    validation = hessian_of(random_layer(seed=7)[1])
    one, other = upper_of(validation), upper_of(2 * validation)
    layers = [
        LayerToUpload("one", weight, hessian_upper=upper, validation_hessian_upper=one),
        LayerToUpload("same", weight, hessian_upper=upper, validation_hessian_upper=one),
        LayerToUpload("other", weight, hessian_upper=upper, validation_hessian_upper=other),
        LayerToUpload("matrix", weight, hessian_upper=upper, validation_hessian=validation),
        LayerToUpload("inputs", weight, inputs=inputs[:50], validation_hessian_upper=one),
        LayerToUpload("none", weight, hessian_upper=upper),
    ]
    results = dict(prune_by_job(TransportOptions(edge.url), layers, poll_ms=50))
    losses = {name: result.report.get("validation_loss") for name, result in results.items()}
    expected = Pare(edge.host_url).prune_layer(weight, hessian_upper=upper, validation_hessian=validation)
    loss = expected.report["validation_loss"]
    assert loss is not None
    assert (losses["one"], losses["same"], losses["matrix"]) == (loss, loss, loss)
    assert losses["other"] == pytest.approx(2 * loss, 1e-5)
    assert losses["inputs"] == pytest.approx(loss, 0.2)
    assert losses["none"] is None
    np.testing.assert_array_equal(bits_of(results["one"].weight), bits_of(expected.weight))


def test_an_edge_lists_its_hosts_and_a_host_does_not(edge: EdgeProcess) -> None:
    hosts = list_edge_hosts(TransportOptions(edge.url))
    assert hosts is not None
    assert [(host["url"], host["backend"]) for host in hosts] == [(edge.host_url, "cpu")]
    assert list_edge_hosts(TransportOptions(edge.host_url)) is None
