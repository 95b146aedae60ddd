"""The refusals of a host, and the errors that the client raises for them."""

import hashlib
import pickle
from http.client import HTTPMessage

import numpy as np
import pytest
from conftest import HostProcess
from pare_llm import BusyError, HessianNotFoundError, NotPositiveDefiniteError, Pare, PareError
from pare_llm.client.errors import error_from_answer

from client.layers import COLS, hessian_of, random_layer, upper_of


def test_deleted_statistics_are_not_found(pare: Pare) -> None:
    weight, inputs = random_layer(seed=1)
    digest = pare.put_hessian(upper_of(hessian_of(inputs)))
    pare.prune_layer(weight, hessian=digest)
    pare.delete_hessian(digest)
    pare.delete_hessian(digest)
    with pytest.raises(HessianNotFoundError) as caught:
        pare.prune_layer(weight, hessian=digest)
    assert caught.value.code == "hessian_not_found"
    assert caught.value.status == 404
    assert digest in caught.value.detail
    assert caught.value.request_id


def test_a_matrix_that_is_not_positive_definite_is_refused(pare: Pare) -> None:
    weight, inputs = random_layer()
    with pytest.raises(NotPositiveDefiniteError) as caught:
        pare.prune_layer(weight, hessian=hessian_of(inputs) - 1e6 * np.eye(COLS, dtype=np.float32))
    assert (caught.value.code, caught.value.status) == ("not_positive_definite", 422)


def test_a_key_is_checked_without_a_layer(pare: Pare) -> None:
    pare.check_key()  # the host of the tests needs none
    protected = HostProcess(env={"PARE_KEYS": hashlib.sha256(b"right").hexdigest()})
    Pare(protected.url, "right").check_key()
    for key in (None, "wrong"):
        with pytest.raises(PareError, match=r"^unauthorized \(401\)"):
            Pare(protected.url, key).check_key()
    protected.stop()


def test_an_unknown_parameter_and_an_invalid_value_are_refused(pare: Pare) -> None:
    weight, inputs = random_layer()
    with pytest.raises(PareError, match=r"^invalid_parameter \(400\): .*sparsty"):
        pare.prune_layer(weight, inputs=inputs, sparsty=0.5)  # type: ignore[call-arg]
    with pytest.raises(PareError, match=r"^invalid_parameter \(400\): .*sparsity"):
        pare.prune_layer(weight, inputs=inputs, sparsity=1.5)
    with pytest.raises(TypeError, match="pattern: columns is not supported by this client"):
        pare.prune_layer(weight, inputs=inputs, pattern="columns", method="obc")


def test_tensors_that_do_not_fit_together_are_refused(pare: Pare) -> None:
    weight, inputs = random_layer()
    with pytest.raises(PareError, match="inputs") as caught:
        pare.prune_layer(weight, inputs=inputs[:, :-1])
    assert caught.value.code == "shape_mismatch"


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BusyError("busy", 429, "the queue is full", "r-1", 2.0)))
    assert type(error) is BusyError
    assert (error.code, error.request_id, error.retry_after) == ("busy", "r-1", 2.0)
    assert str(error) == "busy (429): the queue is full"


def headers(**values: str) -> HTTPMessage:
    message = HTTPMessage()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    return message


def test_a_problem_document_becomes_the_members_of_the_error() -> None:
    body = b'{"code":"too_large","title":"T","detail":"D","request_id":"r-7","uploads":"http://edge/v1"}'
    error = error_from_answer(
        413, "", headers(Content_Type="application/problem+json", Retry_After="2"), body
    )
    assert (error.code, error.status, error.detail, error.request_id) == ("too_large", 413, "D", "r-7")
    assert (error.retry_after, error.uploads, error.is_transient) == (2.0, "http://edge/v1", False)


@pytest.mark.parametrize("body", [b"{", b"null", b"[]", b'"text"', b"7"])
def test_a_body_that_is_no_json_object_is_quoted_although_its_type_is_json(body: bytes) -> None:
    error = error_from_answer(500, "Failed", headers(Content_Type="application/problem+json"), body)
    assert (error.code, error.detail) == ("unknown", body.decode())


def test_the_start_of_a_page_of_a_proxy_is_quoted() -> None:
    page = "<html>" + "x" * 5000
    error = error_from_answer(502, "", headers(Content_Type="text/html", X_Request_Id="r-8"), page.encode())
    assert (error.code, error.request_id, error.is_transient) == ("unknown", "r-8", True)
    assert error.detail == page[:200]


def test_an_empty_answer_is_described_by_its_reason() -> None:
    assert error_from_answer(404, "Not Found", headers(), b"").detail == "Not Found"


def test_a_retry_after_may_be_a_date() -> None:
    past = headers(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")
    assert error_from_answer(503, "", past, b"").retry_after == 0
    assert error_from_answer(503, "", headers(Retry_After="soon"), b"").retry_after is None
    future = headers(Retry_After="Fri, 01 Jan 2100 00:00:00 GMT")
    seconds = error_from_answer(503, "", future, b"").retry_after
    assert seconds is not None
    assert seconds > 1e9
