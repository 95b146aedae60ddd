"""Hosts that answer with a layer that is not what was asked for, in all ways in which a layer is received."""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from pare_llm import Pare, PareHosts, TransportOptions
from pare_llm.edge import Jobs, LayerToUpload, prune_by_job

from client.fake_server import Received, Reply, Start, measure, solved
from client.layers import hessian_of, random_layer, to_library, upper_of

WEIGHT, INPUTS = random_layer(rows=6, cols=8)


class Parts:
    """The parts of an answer, which a lie changes."""

    def __init__(self, received: Received | None = None) -> None:
        """Take the honest answer to a request apart. By default it has the weight only."""
        weight = safetensors.numpy.save({"weight": WEIGHT})
        body = solved(received or Received("POST", "", {}, weight, ("", 0))).body
        length = int.from_bytes(body[:8], "little")
        self.report: dict[str, Any] = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["report"])
        self.tensors = safetensors.numpy.load(body)

    @property
    def weight(self) -> np.ndarray:
        """The weight, which can be changed in place."""
        return self.tensors["weight"]

    @property
    def mask(self) -> np.ndarray:
        """The mask, one bool per entry."""
        return np.unpackbits(self.tensors["mask"], axis=1, count=8, bitorder="little").astype(bool)

    def set_mask(self, mask: np.ndarray) -> None:
        """Replace the mask, and the number of zeros in the report."""
        self.tensors["mask"] = np.packbits(mask, axis=1, bitorder="little")
        self.report["zeros"] = int((~mask).sum())

    def encode(self) -> bytes:
        """Put the answer together."""
        return safetensors.numpy.save(self.tensors, {"report": json.dumps(self.report)})


Lie = Callable[[Parts], None]


def keep_all(parts: Parts) -> None:
    parts.tensors["weight"] = WEIGHT.copy()
    parts.set_mask(np.ones(WEIGHT.shape, bool))


def prune_all(parts: Parts) -> None:
    parts.weight[:] = 0
    parts.set_mask(np.zeros(WEIGHT.shape, bool))


def zero_all(parts: Parts) -> None:
    parts.weight[:] = 0


def zero_one_more(parts: Parts) -> None:
    parts.weight[tuple(np.argwhere(parts.mask)[0])] = -0.0


def move_the_zeros(parts: Parts) -> None:
    mask = ~parts.mask
    parts.tensors["weight"] = WEIGHT * mask
    parts.set_mask(mask)


def scale(parts: Parts) -> None:
    parts.weight[:] *= 1.5


def replay(parts: Parts) -> None:
    """Answer with another layer that was solved in the same way."""
    other = random_layer(seed=1, rows=6, cols=8)[0]
    before = safetensors.numpy.save({"weight": other})
    parts.tensors = Parts(Received("POST", "", {}, before, ("", 0))).tensors


def set_entry(value: float) -> Lie:
    def change(parts: Parts) -> None:
        parts.weight[tuple(np.argwhere(parts.mask)[0])] = value

    return change


def fill_a_zero(parts: Parts) -> None:
    parts.weight[tuple(np.argwhere(~parts.mask)[-1])] = 1e-30


def replace(name: str, tensor: np.ndarray) -> Lie:
    return lambda parts: parts.tensors.update({name: tensor})


def report(**values: object) -> Lie:
    return lambda parts: parts.report.update(values)


def add_codes(parts: Parts, groups: int = 1) -> None:
    parts.tensors["codes"] = np.zeros(WEIGHT.shape, np.uint8)
    parts.tensors["scales"] = parts.tensors["zeros"] = np.ones((6, groups), np.float32)


# Lies about the form of an answer, and what contradicts them.
LIES: dict[str, tuple[Lie, str]] = {
    "not pruned": (keep_all, "the mask prunes 0 of 48 entries, but the request asks for 24"),
    "all pruned": (prune_all, "the mask prunes 48 of 48 entries, but the request asks for 24"),
    "zeros": (zero_all, "every weight is 0, although the mask keeps some"),
    "one more zero": (zero_one_more, "1 weights are 0, although the mask keeps them"),
    "nan": (set_entry(np.nan), "the tensor weight has a number that is not finite"),
    "infinity": (set_entry(-np.inf), "the tensor weight has a number that is not finite"),
    "nonzero": (fill_a_zero, "the weight is not zero everywhere that its mask is False"),
    "shape": (replace("weight", WEIGHT.T.copy()), r"weight is F32 \[8, 6\] instead of F32 \[6, 8\]"),
    "dtype": (
        replace("weight", WEIGHT.astype(np.float16)),
        r"weight is F16 \[6, 8\] instead of F32 \[6, 8\]",
    ),
    "vector": (replace("weight", WEIGHT.ravel()), r"the weight is F32 \[48\], but must be a matrix"),
    "mask": (replace("mask", np.zeros((6, 2), np.uint8)), r"mask is U8 \[6, 2\] instead of U8 \[6, 1\]"),
    "loss": (report(loss=float("nan")), "the loss of the report must be None or a number from 0, got nan"),
    "report": (report(zeros=23), "the mask prunes 24 of 6x8 entries, but the report says"),
    "rounded": (add_codes, "the weight is rounded to a grid, contrary to the bits of the request"),
}

# Lies about the values, and what contradicts them if the method is magnitude.
WRONG_VALUES: dict[str, tuple[Lie, str]] = {
    "moved zeros": (move_the_zeros, "the mask keeps a weight with a smaller magnitude than a pruned one"),
    "times 1.5": (scale, "a kept weight differs from the request, although magnitude changes none"),
    "replayed": (replay, "a kept weight differs from the request, although magnitude changes none"),
}
# Lies that can be noticed only if the request has statistics. `CONTRADICTION` refuses them, and wrong values
# too.
WRONG_FIGURES = [report(loss=None, relative_error=None), report(loss=1e-6), report(relative_error=1e-6)]
CONTRADICTION = r"the (relative error|loss) is \S+, but the report (says \S+|has none)$"


def lying(lie: Lie) -> Callable[[Received], Reply]:
    """Return a host that changes its answers about layers by `lie`."""

    def answer(received: Received) -> Reply:
        if received.method != "POST":
            return solved(received)
        parts = Parts(received)
        lie(parts)
        return Reply(body=parts.encode())

    return answer


def statistics_of(kind: str, inputs: np.ndarray, library: str, client: Pare | PareHosts) -> dict[str, Any]:
    """Return the statistics of `inputs` in one of the forms of a request."""
    hessian = hessian_of(inputs)
    tensors = {"hessian": hessian, "hessian_upper": upper_of(hessian), "inputs": inputs}
    if kind == "stored":
        return {"hessian": client.put_hessian(to_library(library, tensors["hessian_upper"]))}
    return {name: to_library(library, tensor) for name, tensor in tensors.items() if name == kind}


KINDS = ["hessian", "hessian_upper", "inputs", "stored"]
CASES = [
    *((kind, lie, problem) for lie, problem in LIES.values() for kind in ["magnitude", *KINDS]),
    *(("magnitude", lie, problem) for lie, problem in WRONG_VALUES.values()),
    *((kind, lie, CONTRADICTION) for lie, _ in WRONG_VALUES.values() for kind in KINDS),
    *((kind, lie, CONTRADICTION) for lie in WRONG_FIGURES for kind in KINDS),
]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(("kind", "lie", "problem"), CASES)
def test_a_layer_that_was_not_asked_for_is_refused(
    start: Start, kind: str, lie: Lie, problem: str, library: str
) -> None:
    server = start(lying(lie))
    for client in (Pare(server.url), PareHosts([server.url, server.url])):
        given = (
            {"method": "magnitude"} if kind == "magnitude" else statistics_of(kind, INPUTS, library, client)
        )
        with pytest.raises(ValueError, match=f"^answer of /v1/layers: (the tensor )?{problem}"):
            client.prune_layer(to_library(library, WEIGHT), **given)
    posts = [received for received in server.received if received.method == "POST"]
    assert len(posts) == 2  # the layer is not sent again, and no host counts as lost


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ["hessian", "hessian_upper", "inputs", "stored"])
@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_the_error_of_a_large_layer_is_estimated(start: Start, dtype: str, kind: str, library: str) -> None:
    """The rows have a common part, so that their errors are correlated."""
    weight, inputs = random_layer(rows=400, cols=300)
    weight += random_layer(rows=1, cols=300)[0]
    honest, liar = Pare(start(solved).url), Pare(start(lying(scale)).url)
    for client in (honest, liar):
        tensor, given = to_library(library, weight, dtype), statistics_of(kind, inputs, library, client)
        refusal = pytest.raises(ValueError, match=r"relative error is .*, but the report says")
        for _ in range(5):
            with nullcontext() if client is honest else refusal:
                client.prune_layer(tensor, **given)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["F16", "BF16"])
@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_numbers_that_are_not_finite_are_found_in_each_dtype(
    start: Start, library: str, dtype: str, value: float
) -> None:
    def answer(received: Received) -> Reply:
        weight = safetensors.torch.load(received.body)["weight"]
        mask = np.arange(8) % 2 == 0
        weight[:, ~mask] = 0
        weight[5, 6] = value
        bits = torch.from_numpy(np.packbits(np.broadcast_to(mask, (6, 8)), axis=1, bitorder="little"))
        metadata = {"report": json.dumps(Parts().report)}
        return Reply(body=safetensors.torch.save({"weight": weight, "mask": bits}, metadata))

    pare = Pare(start(answer).url)
    weight = to_library(library, WEIGHT, dtype)
    if np.isfinite(value):
        assert pare.prune_layer(weight).weight[5, 6] == value
    else:
        with pytest.raises(ValueError, match="the tensor weight has a number that is not finite"):
            pare.prune_layer(weight)


def keep_a_whole_group(parts: Parts) -> None:
    mask = parts.mask
    mask[0] = [1, 1, 1, 1, 0, 0, 0, 0]
    parts.tensors["weight"] = WEIGHT * mask
    parts.set_mask(mask)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_pattern_and_the_mask_of_the_request_are_checked(start: Start, library: str) -> None:
    weight = to_library(library, WEIGHT)
    honest, lying_host = Pare(start(solved).url), Pare(start(lying(keep_a_whole_group)).url)
    assert honest.prune_layer(weight, pattern="2:4").mask.sum() == 24
    with pytest.raises(ValueError, match="the mask keeps more than 2 of 4 consecutive columns"):
        lying_host.prune_layer(weight, pattern="2:4")
    # The host ignores the mask of the request, or prunes nothing else.
    allowed = np.broadcast_to(np.arange(8) > 0, WEIGHT.shape)
    with pytest.raises(ValueError, match="the mask keeps an entry that the mask of the request prunes"):
        lying_host.prune_layer(weight, mask=allowed, method="magnitude", sparsity=0.5)

    def prune_the_mask_only(parts: Parts) -> None:
        parts.tensors["weight"] = WEIGHT * allowed
        parts.set_mask(allowed)

    with pytest.raises(ValueError, match="prunes 6 of 48 entries, but the request asks for 24"):
        Pare(start(lying(prune_the_mask_only)).url).prune_layer(
            weight, mask=allowed, method="magnitude", sparsity=0.5
        )
    with pytest.raises(ValueError, match="prunes 48 of 48 entries, but the request asks for 6"):
        Pare(start(lying(prune_all)).url).prune_layer(weight, mask=allowed, method="magnitude")
    sparse = Pare(start(lying(prune_the_mask_only)).url)
    assert sparse.prune_layer(weight, mask=allowed, method="magnitude", sparsity=0.1).mask.sum() == 42


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_columns_may_be_zero_if_their_inputs_were_always_0(start: Start, library: str) -> None:
    mask = np.broadcast_to(np.arange(8) % 2 == 0, WEIGHT.shape)
    inputs = INPUTS.copy()
    inputs[:, [0, 2]] = 0
    hessian = hessian_of(inputs)

    def zero_columns(parts: Parts) -> None:
        """Answer zero columns, but not in two rows with their original weights."""
        weight = WEIGHT * mask
        weight[2:] *= 1.1
        weight[2:, [0, 2]] = 0
        parts.tensors["weight"] = weight
        parts.set_mask(mask)
        parts.report |= {"nearest_rows": 2, **measure(WEIGHT, weight, {"hessian": hessian})}

    pare = Pare(start(lying(zero_columns)).url)
    weight = to_library(library, WEIGHT)
    given, dense = to_library(library, hessian), to_library(library, hessian_of(INPUTS))
    assert pare.prune_layer(weight, hessian=given, validation_hessian=dense).report["nearest_rows"] == 2
    assert pare.prune_layer(weight, hessian="sha256:" + 64 * "0").report["nearest_rows"] == 2
    with pytest.raises(ValueError, match="8 weights are 0, although the mask keeps them"):
        pare.prune_layer(weight, hessian=dense)


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("codes", None, "the weight is not rounded to a grid, contrary to the bits of the request"),
        ("codes", np.zeros((6, 4), np.uint8), r"codes is U8 \[6, 4\] instead of U8 \[6, 8\]"),
        ("scales", np.ones((6, 1), np.float32), r"scales is F32 \[6, 1\] instead of F32 \[6, 2\]"),
        ("scales", np.full((6, 2), np.nan, np.float32), "scales has a number that is not finite"),
        ("zeros", np.full((6, 2), np.inf, np.float32), "zeros has a number that is not finite"),
        ("zeros", np.full((6, 2), 0.5, np.float32), "a zero of a grid is not an integer"),
        ("codes", np.full((6, 8), 16, np.uint8), "a code has more than 4 bits"),
        ("codes", np.full((6, 8), 2, np.uint8), "a weight is not the value of its code"),
    ],
)
def test_the_grids_of_a_rounded_weight_are_checked(
    start: Start, name: str, tensor: np.ndarray | None, problem: str
) -> None:
    def add_grids(parts: Parts) -> None:
        if tensor is not None:
            add_codes(parts, groups=2)
            parts.tensors[name] = tensor

    with pytest.raises(ValueError, match=problem):
        Pare(start(lying(add_grids)).url).prune_layer(WEIGHT, method="magnitude", bits=4, group_size=4)


def test_the_texts_of_a_report_have_no_control_characters(start: Start) -> None:
    names = report(adapter="fake\x1b[2J", notes=["a\rb"])
    pruned = Pare(start(lying(names)).url).prune_layer(WEIGHT, method="magnitude")
    assert (pruned.report["adapter"], pruned.report["notes"]) == (r"fake\x1b[2J", [r"a\rb"])


def file_of(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, size: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [size], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (file_of({"a": entry(0, 4, 4), "b": entry(2, 6, 4)}, bytes(6)), 'the tensor "b" begins at byte 2 '),
        (file_of({"a": entry(0, 4, 4)}, bytes(5)), r"the file has \d+ bytes, but its tensors end at byte"),
        (file_of({"a": entry(0, 4, 4)}, bytes(3)), r"the file has \d+ bytes, but its tensors end at byte"),
        (file_of({"a\x1b": entry(0, 4, 5)}, bytes(4)), r'the tensor "a\\u001b" .* needs 5 bytes'),
        (
            file_of({"a": entry(4, 0, -4)}, bytes(4)),
            "the header is not valid JSON: the number -4 is negative",
        ),
        (file_of({"__metadata__": [1]}, b""), "__metadata__ must be an object"),  # type: ignore[dict-item]
        (b"\xff" * 8, "needs 18446744073709551623 bytes for its header, but has 8"),
    ],
)
def test_a_malformed_answer_is_refused(start: Start, body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^safetensors file: {problem}"):
        Pare(start(Reply(body=body)).url).prune_layer(WEIGHT, method="magnitude")


def edge_with(body: bytes) -> Callable[[Received], Reply]:
    """Return an edge that stores every blob, and whose jobs have ended with this result."""
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    layer = {"name": "q", "state": "done", "attempts": 1, "report": None, "result": digest, "error": None}
    job = json.dumps({"id": "j", "state": "done", "layers": [layer]}).encode()

    def answer(received: Received) -> Reply:
        return Reply(body=body if received.path.endswith(f"/blobs/{digest}") else job)

    return answer


@pytest.mark.parametrize("name", LIES)
def test_the_result_of_a_job_is_checked(start: Start, name: str) -> None:
    lie, problem = LIES[name]
    parts = Parts()
    lie(parts)
    edge = start(edge_with(parts.encode()))
    results = prune_by_job(TransportOptions(edge.url), [LayerToUpload("q", WEIGHT)])
    with pytest.raises(ValueError, match=f"^answer of /v1/layers: (the tensor )?{problem}"):
        next(results)
    if name in ("nan", "infinity", "nonzero", "vector", "mask", "report"):
        # The request is not known here, so the answer is only compared with itself.
        jobs = Jobs(edge.url)
        with pytest.raises(ValueError, match=r"^answer of /v1/layers: "):
            jobs.result(jobs.get("j")["layers"][0])
