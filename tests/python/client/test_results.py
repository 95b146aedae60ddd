"""Results of jobs: the digest of their bytes, and the failures after which another job may succeed."""

import hashlib
import json

import numpy as np
import pytest
from pare_llm.client.jobs.prune_by_job import LayerFailure
from pare_llm.edge import JobFailedError, Jobs, LayerState
from safetensors.numpy import save

from client.fake_server import Received, Reply, Start, solved


def layer_file(value: float) -> Reply:
    """Return the answer with a pruned layer whose weights are `value`."""
    body = save({"weight": np.full((2, 3), value, np.float32)})
    return solved(Received("POST", "/v1/layers", {}, body, ("", 0)))


RIGHT, WRONG = layer_file(1), layer_file(2)


def digest_of(reply: Reply) -> str:
    return f"sha256:{hashlib.sha256(reply.body).hexdigest()}"


LAYER: LayerState = {
    "name": "q",
    "state": "done",
    "attempts": 1,
    "report": None,
    "result": digest_of(RIGHT),
    "error": None,
}


def test_a_result_with_another_digest_is_downloaded_once_more(start: Start) -> None:
    server = start(WRONG, RIGHT)
    assert json.dumps(Jobs(server.url).result(LAYER).weight.tolist()) == json.dumps([[0.0] * 3, [1.0] * 3])
    assert server.log == [f"GET /v1/blobs/{LAYER['result']}"] * 2


def test_a_result_with_another_digest_is_refused_the_second_time(start: Start) -> None:
    server = start(WRONG)
    expected = f"blob {LAYER['result']}: the server has sent bytes with the digest {digest_of(WRONG)}"
    with pytest.raises(ValueError, match=f"^{expected}, in 2 attempts$"):
        Jobs(server.url).result(LAYER)
    assert len(server.received) == 2


@pytest.mark.parametrize(
    ("code", "is_transient"), [("shutting_down", True), ("no_device", True), ("non_finite", False)]
)
def test_a_failed_job_says_whether_another_one_may_succeed(code: str, is_transient: bool) -> None:
    assert JobFailedError("j", [LayerFailure("q", code, "")]).is_transient == is_transient
